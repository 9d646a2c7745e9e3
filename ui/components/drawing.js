// A picture of pdc_core.charts.drawing, ready as HTML: {html, name, format}. `st.html` would take its SVG out.

export default function ({ data, parentElement }) {
  const frame = parentElement.querySelector(".drawing");
  frame.querySelector(".picture").innerHTML = data.html; // every name in it was escaped where it was drawn
  frame.querySelector(".save").onclick = () => {
    const picture = frame.querySelector("svg"), style = getComputedStyle(frame);
    const { width, height } = picture.viewBox.baseVal, paper = style.getPropertyValue("--st-background-color");
    savePicture(picture.cloneNode(true), { ...data, width, height, ink: style.color, paper });
  };
}
