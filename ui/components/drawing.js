// A picture of pdc_core.charts, ready as HTML: {html, title, name, format}. `st.html` would take its SVG out.
// With {pointing: {panels, cells, start}}, cells are explained under the pointer, or with the keys, below the picture.

const PAD = 16, TITLE = 26; // around a saved picture, and above it for its title
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function svgElement(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function explain(frame, { panels, cells, start }) {
  const svg = frame.querySelector(".picture svg"), said = frame.querySelector(".explained");
  const outlines = svg.appendChild(svgElement("g", { "pointer-events": "none", fill: "none" }));
  const outline = ([panel, row, column, rows, columns]) => {
    const [x, y, side, all, across] = panels[panel], wide = side / across, high = side / all;
    const place = { x: x + column * wide - .5, y: y + row * high - .5, width: columns * wide, height: rows * high, rx: 2 };
    // white around black is seen on every colour of a cell
    return [["#fff", 5], ["#000", 2]].map(([stroke, width]) =>
      svgElement("rect", { ...place, stroke, "stroke-width": width }));
  };
  const show = (cell) => {
    if (!(cell in cells)) return;
    frame.dataset.cell = cell;
    outlines.replaceChildren(...cells[cell][0].flatMap(outline));
    said.replaceChildren(...cells[cell][1].map((line) => {
      const element = document.createElement("div");
      element.textContent = line;
      return element;
    }));
  };
  svg.onpointermove = svg.onpointerdown = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const panel = panels.findIndex(([x, y, side]) => at.x >= x && at.x < x + side && at.y >= y && at.y < y + side);
    if (panel < 0) return;
    const [x, y, side, rows, columns] = panels[panel];
    show([panel, Math.floor((at.y - y) / side * rows), Math.floor((at.x - x) / side * columns)].join());
  };
  const explained = [...new Set(Object.keys(cells).map((cell) => Number(cell.split(",")[0])))].sort((a, b) => a - b);
  svg.setAttribute("tabindex", 0);
  svg.onkeydown = (event) => {
    const [panel, row, column] = frame.dataset.cell.split(",").map(Number);
    if (event.key in STEPS) show([panel, row + STEPS[event.key][0], column + STEPS[event.key][1]].join());
    else if (event.key === "Enter" || event.key === " ")
      show([explained[(explained.indexOf(panel) + 1) % explained.length], row, column].join());
    else return;
    event.preventDefault(); // the page would scroll
  };
  const lines = Math.max(...Object.values(cells).map(([, text]) => text.length));
  said.style.minHeight = `${1.5 * lines}em`; // what stands below stays where it is
  show(frame.dataset.cell in cells ? frame.dataset.cell : start);
}

export default function ({ data, parentElement }) {
  const frame = parentElement.querySelector(".drawing"), shown = frame.querySelector(".picture");
  shown.innerHTML = data.html; // every name in it was escaped where it was drawn
  frame.style.maxWidth = shown.firstElementChild.style.maxWidth;
  if (data.pointing) explain(frame, data.pointing);
  frame.querySelector(".save").onclick = () => {
    const picture = shown.querySelector("svg").cloneNode(true), style = getComputedStyle(frame);
    const { width: w, height: h } = picture.viewBox.baseVal, [width, height] = [w + 2 * PAD, h + 2 * PAD + TITLE];
    picture.setAttribute("viewBox", `${-PAD} ${-PAD - TITLE} ${width} ${height}`);
    const title = svgElement("text", { y: 8 - TITLE, fill: "currentColor", "font-size": 17, "font-weight": 600 });
    title.textContent = data.title;
    picture.append(title);
    const paper = style.getPropertyValue("--st-background-color");
    savePicture(picture, { name: data.name, format: data.format, width, height, ink: style.color, paper });
  };
}
