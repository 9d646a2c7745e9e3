// A sheet to draw on, white on black: {drawing, width}. Python hears of the state "drawing": a PNG as a data URL, "" if empty.

const EVERY = 250; // milliseconds between two reports of a stroke under way
const STEP = 14; // pixels by which an arrow key moves the pen
const TURNS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

const sheets = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  let sheet = sheets.get(parentElement);
  if (!sheet) sheets.set(parentElement, (sheet = new Sheet(parentElement, data)));
  sheet.send = drawing => setStateValue("drawing", drawing);
}

class Sheet {
  constructor(root, data) {
    [this.canvas, this.pen] = ["canvas", ".pen"].map(name => root.querySelector(name));
    this.paper = this.canvas.getContext("2d");
    Object.assign(this.paper, { strokeStyle: "#fff", fillStyle: "#fff", lineWidth: data.width, lineCap: "round", lineJoin: "round" });
    this.at = [this.canvas.width / 2, this.canvas.height / 2];
    this.down = false; // the pen of the keyboard
    this.empty = true;
    this.restore(data.drawing);
    this.canvas.onpointerdown = event => this.begin(event);
    this.canvas.onpointermove = event => this.stroke && this.line(this.place(event));
    this.canvas.onpointerup = this.canvas.onpointercancel = () => this.end();
    this.canvas.onkeydown = event => this.press(event);
    this.canvas.onblur = () => this.lift();
    root.querySelector(".clear").onclick = () => this.clear();
  }

  restore(drawing) {
    if (!drawing) return;
    const picture = new Image();
    picture.onload = () => this.paper.drawImage(picture, 0, 0);
    picture.src = drawing;
    this.empty = false;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect(), scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  begin(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.stroke = true;
    this.lift();
    this.at = this.place(event);
    this.line(this.at);
  }

  end() {
    if (!this.stroke) return;
    this.stroke = false;
    this.report();
  }

  line(to) {
    this.paper.beginPath();
    this.paper.moveTo(...this.at);
    this.paper.lineTo(...to);
    this.paper.stroke();
    this.at = to;
    this.empty = false;
    this.waiting ??= setTimeout(() => this.report(), EVERY);
  }

  report() {
    clearTimeout(this.waiting);
    this.waiting = null;
    const drawing = this.empty ? "" : this.black().toDataURL("image/png");
    if (drawing !== this.sent) this.send((this.sent = drawing));
  }

  black() {
    const copy = document.createElement("canvas"), { width, height } = this.canvas;
    Object.assign(copy, { width, height });
    const paper = copy.getContext("2d");
    paper.fillRect(0, 0, width, height);
    paper.drawImage(this.canvas, 0, 0);
    return copy;
  }

  clear() {
    this.paper.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.empty = true;
    this.lift();
    this.report();
  }

  press(event) {
    const turn = TURNS[event.key];
    if (!turn && event.key !== " ") return;
    event.preventDefault();
    if (turn) {
      const to = this.at.map((x, axis) => Math.min(Math.max(x + STEP * turn[axis], 0), this.canvas.width));
      if (this.down) this.line(to);
      else this.at = to;
    } else {
      this.down = !this.down;
      if (this.down) this.line(this.at);
    }
    const share = this.at.map(x => `${(100 * x) / this.canvas.width}%`);
    [this.pen.style.left, this.pen.style.top] = share;
    this.pen.hidden = false;
    this.pen.classList.toggle("down", this.down);
  }

  lift() {
    this.down = false;
    this.pen.hidden = true;
  }
}
