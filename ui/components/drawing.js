// A picture of pdc_core.charts.drawing, ready as HTML: {html, title, name, format}. `st.html` would take its SVG out.

const PAD = 16, TITLE = 26; // around a saved picture, and above it for its title

export default function ({ data, parentElement }) {
  const frame = parentElement.querySelector(".drawing"), shown = frame.querySelector(".picture");
  shown.innerHTML = data.html; // every name in it was escaped where it was drawn
  frame.style.maxWidth = shown.firstElementChild.style.maxWidth;
  frame.querySelector(".save").onclick = () => {
    const picture = shown.querySelector("svg").cloneNode(true), style = getComputedStyle(frame);
    const { width: w, height: h } = picture.viewBox.baseVal, [width, height] = [w + 2 * PAD, h + 2 * PAD + TITLE];
    picture.setAttribute("viewBox", `${-PAD} ${-PAD - TITLE} ${width} ${height}`);
    const title = document.createElementNS(picture.namespaceURI, "text");
    for (const [key, value] of Object.entries({ y: 8 - TITLE, fill: "currentColor", "font-size": 17, "font-weight": 600 }))
      title.setAttribute(key, value);
    title.textContent = data.title;
    picture.append(title);
    const paper = style.getPropertyValue("--st-background-color");
    savePicture(picture, { name: data.name, format: data.format, width, height, ink: style.color, paper });
  };
}
