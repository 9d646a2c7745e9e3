// Map and kernels of one channel group, linked: what is pointed at or chosen in one is marked in both, at once.
//
// Python sends what `ui.filters.linked_views.linked_data` describes and hears of every choice as {group, filters, turn}. Turns
// count up here; an answer to an older turn does not undo what was clicked in the meantime.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 470, PAD = 30; // pixels
const SMALL = 84, LARGE = 300; // pixels: the picture of a filter that is pointed at, of one channel and of many
const CLICK = 4; // a pointer that moves less is a click
const NUMBERED = 32; // filters that carry their number on the map
const LEGEND = 12; // clusters that are named under it
const CROSSES = 32; // clusters whose centroids are all marked; of more, only that of the cluster looked at
const CAPTIONED = 30; // pixels of a tile that has room for its number below
const TURNS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
// The symbols of pdc_core.charts.palette within about -1..1.
const SHAPES = {
  circle: "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z",
  square: "M-.88,-.88H.88V.88H-.88Z",
  diamond: "M0,-1.2L1,0L0,1.2L-1,0Z",
  "triangle-up": "M0,-1.1L1.1,.85H-1.1Z",
  "triangle-down": "M0,1.1L1.1,-.85H-1.1Z",
  cross: "M-1.05,-.36H-.36V-1.05H.36V-.36H1.05V.36H.36V1.05H-.36V.36H-1.05Z",
  x: "M-.9,-.5L-.5,-.9L0,-.4L.5,-.9L.9,-.5L.4,0L.9,.5L.5,.9L0,.4L-.5,.9L-.9,.5L-.4,0Z",
  star: "M0,-1.2L.35,-.46L1.14,-.37L.55,.18L.71,.97L0,.6L-.71,.97L-.55,.18L-1.14,-.37L-.35,-.46Z",
};
const CENTROID = "M-1,-.1H-.1V-1H.1V-.1H1V.1H.1V1H-.1V.1H-1Z";

const views = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  let view = views.get(parentElement);
  if (!view) views.set(parentElement, (view = new Views(parentElement)));
  view.send = picked => setTriggerValue("picked", picked);
  view.show(data);
  view.observer.observe(view.map);
  return () => view.observer.disconnect();
}

function svg(name, attributes = {}, parent = null) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent?.append(node);
  return node;
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), character => character.charCodeAt(0));
}

class Views {
  constructor(root) {
    const find = name => root.querySelector(`.${name}`);
    this.frame = find("views");
    [this.title, this.map, this.legend, this.grid, this.tip, this.saver] =
      ["title", "map", "legend", "grid", "tip", "save"].map(find);
    this.points = [];
    this.tiles = [];
    this.chosen = new Set();
    this.turn = 0;
    this.at = { map: 0, grid: 0 }; // where the keyboard is: a filter on the map, a place in the grid
    this.observer = new ResizeObserver(() => this.place());
    this.listenToMap();
    this.listen(this.map, this.points, "map");
    this.listen(this.grid, this.tiles, "grid");
    this.grid.addEventListener("click", event => this.click(this.filterOf(event.target), event.shiftKey));
    this.saver.addEventListener("click", () => this.save());
  }

  // ---- what is shown

  show(data) {
    const fresh = this.data?.group !== data.group || this.data?.sheet.url !== data.sheet.url;
    if (fresh || data.turn >= this.turn) {
      this.chosen = new Set(data.chosen);
      this.turn = Math.max(this.turn, data.turn);
    }
    this.data = data;
    if (fresh) this.build();
    this.title.textContent = data.title;
    this.map.setAttribute("aria-label", data.alt);
    this.dress();
    this.place();
    this.mark();
    if (fresh) requestAnimationFrame(() => requestAnimationFrame(() => this.frame.classList.remove("still")));
  }

  colour(cluster) { return this.data.colours[cluster % this.data.colours.length]; }
  shape(cluster) { return SHAPES[this.data.symbols[cluster % this.data.symbols.length]]; }
  describe(i) { return `filter ${i}, cluster ${this.data.labels[i]}`; }

  /** Make the points and tiles of another group; nothing of them moves yet. */
  build() {
    const { labels, sheet } = this.data, n = labels.length;
    this.frame.classList.add("still");
    this.map.replaceChildren();
    this.axes = ["x", "y"].map(() => svg("text", { class: "axis", "text-anchor": "middle" }, this.map));
    this.layer = svg("g", {}, this.map);
    this.crosses = svg("g", { class: "crosses" }, this.map);
    this.lasso = svg("path", { class: "lasso" }, this.map);
    this.radius = n <= NUMBERED ? 8 : n <= 256 ? 6 : n <= 1024 ? 4.2 : 3.4;
    this.points.length = this.tiles.length = 0;
    this.at = { map: 0, grid: 0 };
    if (this.sheet) URL.revokeObjectURL(this.sheet);
    this.sheet = URL.createObjectURL(new Blob([bytes(sheet.url.split(",")[1])]));
    this.weights = bytes(this.data.whole.bytes);
    this.shades = bytes(this.data.whole.shades);
    this.frame.style.setProperty("--sheet", `url(${this.sheet})`);
    const zoom = Math.min(1, sheet.side / sheet.cell[0]);
    this.captioned = zoom * sheet.tile[0] >= CAPTIONED;
    this.grid.style.gridTemplateColumns = `repeat(${sheet.columns}, ${zoom * sheet.cell[0]}px)`;
    for (let i = 0; i < n; i++) {
      const point = svg("g", { class: "point", role: "option" }, this.layer);
      point.dataset.filter = i;
      svg("path", {}, point);
      if (n <= NUMBERED) svg("text", { class: "number", "text-anchor": "middle" }, point).textContent = i;
      this.points.push(point);
      const tile = document.createElement("div");
      tile.className = "tile";
      tile.dataset.filter = i;
      tile.setAttribute("role", "option");
      tile.append(this.picture(i, zoom), document.createElement("span"));
      this.tiles.push(tile);
    }
  }

  /** Cut a filter's kernels out of the sheet. */
  picture(i, zoom) {
    const { cell, tile, columns, rows } = this.data.sheet, box = document.createElement("i");
    box.className = zoom > 1 ? "kernel sharp" : "kernel";
    box.style.width = `${zoom * tile[0]}px`;
    box.style.height = `${zoom * tile[1]}px`;
    box.style.backgroundSize = `${zoom * columns * cell[0]}px ${zoom * rows * cell[1]}px`;
    box.style.backgroundPosition = `${-zoom * (i % columns) * cell[0]}px ${-zoom * Math.floor(i / columns) * cell[1]}px`;
    return box;
  }

  /** Draw a filter with all its input channels, large: as `kernel_picture` lays them out, a seam of one weight apart. */
  whole(i) {
    const { channels, height, width } = this.data.whole, seam = height * width > 1 ? 1 : 0;
    const across = Math.ceil(Math.sqrt(channels)), down = Math.ceil(channels / across);
    const canvas = document.createElement("canvas");
    canvas.className = "whole";
    [canvas.width, canvas.height] = [across * (width + seam) - seam, down * (height + seam) - seam];
    const zoom = Math.max(1, Math.floor((channels > 1 ? LARGE : SMALL) / Math.max(canvas.width, canvas.height)));
    canvas.style.width = `${Math.min(zoom, SMALL / width) * canvas.width}px`;
    const image = new ImageData(canvas.width, canvas.height);
    for (let j = 0, at = i * channels * height * width; j < channels; j++)
      for (let row = 0; row < height; row++)
        for (let column = 0; column < width; column++, at++) {
          const y = Math.floor(j / across) * (height + seam) + row, x = (j % across) * (width + seam) + column;
          const shade = 3 * this.weights[at], pixel = 4 * (y * canvas.width + x);
          image.data.set([this.shades[shade], this.shades[shade + 1], this.shades[shade + 2], 255], pixel);
        }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  /** Give every filter the colour and shape of its cluster, the grid its order, the legend its names. */
  dress() {
    const { labels, order } = this.data, sizes = [];
    labels.forEach(c => { sizes[c] = (sizes[c] ?? 0) + 1; });
    labels.forEach((c, i) => {
      const path = this.points[i].firstChild;
      path.setAttribute("d", this.shape(c));
      path.setAttribute("fill", this.colour(c));
      this.points[i].setAttribute("aria-label", this.describe(i));
      this.tiles[i].setAttribute("aria-label", this.describe(i));
      this.tiles[i].style.setProperty("--colour", this.colour(c));
      this.tiles[i].lastChild.replaceChildren(...(this.captioned ? [this.glyph(c), `${i}`] : []));
      this.tiles[i].classList.toggle("barred", !this.captioned);
    });
    if (order.some((i, t) => this.grid.children[t] !== this.tiles[i]) || this.grid.children.length !== order.length)
      this.grid.replaceChildren(...order.map(i => this.tiles[i]));
    const keys = sizes.length > LEGEND ? [] : sizes.map((size, c) => this.key(c, size));
    const many = `${sizes.length} clusters: point at a filter to highlight its cluster.`;
    this.legend.replaceChildren(...(keys.length ? keys : [many]));
  }

  glyph(cluster) {
    const mark = svg("svg", { class: "glyph", viewBox: "-1.3 -1.3 2.6 2.6", "aria-hidden": "true" });
    svg("path", { d: this.shape(cluster), fill: this.colour(cluster) }, mark);
    return mark;
  }

  key(cluster, size) {
    const key = document.createElement("button"), name = document.createElement("b");
    const filters = `filter${size > 1 ? "s" : ""}`;
    name.textContent = cluster;
    key.append(this.glyph(cluster), name, `: ${size} ${filters}`);
    key.title = `Select the ${size} ${filters} of cluster ${cluster}`;
    for (const [event, shown] of [["pointerenter", cluster], ["focus", cluster], ["pointerleave", null], ["blur", null]])
      key.addEventListener(event, () => this.single(shown));
    key.addEventListener("click", event => {
      const members = this.data.labels.flatMap((c, i) => (c === cluster ? [i] : []));
      this.choose(event.shiftKey ? [...this.chosen, ...members] : members);
    });
    return key;
  }

  /** Put points, centroids and labels where they belong at the present width. */
  place() {
    if (!this.data) return;
    const { x, y, centres, axes } = this.data, width = this.map.clientWidth;
    if (!width) return;
    this.map.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const scale = (values, from, to) => {
      const low = Math.min(...values), high = Math.max(...values);
      return v => (high > low ? from + ((v - low) / (high - low)) * (to - from) : (from + to) / 2);
    };
    const across = scale(x, PAD + 14, width - PAD), down = scale(y, HEIGHT - PAD - 16, PAD);
    this.where = x.map((v, i) => [across(v), down(y[i])]);
    const mark = (node, [a, b], r) => {
      node.style.transform = `translate(${a}px,${b}px)`;
      node.firstChild.setAttribute("transform", `scale(${r})`);
    };
    this.points.forEach((point, i) => mark(point, this.where[i], this.radius));
    while (this.crosses.children.length > centres.length) this.crosses.lastChild.remove();
    while (this.crosses.children.length < centres.length)
      svg("path", { d: CENTROID }, svg("g", { class: "cross" }, this.crosses));
    this.middles = centres.map(([a, b]) => [across(a), down(b)]);
    centres.forEach(([, , c], j) => {
      mark(this.crosses.children[j], this.middles[j], 1.6 * this.radius);
      this.crosses.children[j].dataset.cluster = c;
    });
    const [wide, high] = this.axes;
    wide.textContent = axes[0];
    high.textContent = axes[1];
    wide.setAttribute("transform", `translate(${width / 2},${HEIGHT - 6})`);
    high.setAttribute("transform", `translate(14,${HEIGHT / 2}) rotate(-90)`);
    if (this.points[0]?.childNodes.length > 1) this.number();
  }

  /** Write each number beside its point, where it covers least. */
  number() {
    const taken = [...this.where, ...this.middles].map(([a, b]) => [a - 8, b - 8, a + 8, b + 8]);
    const overlap = (p, q) =>
      Math.max(0, Math.min(p[2], q[2]) - Math.max(p[0], q[0])) * Math.max(0, Math.min(p[3], q[3]) - Math.max(p[1], q[1]));
    this.where.forEach(([a, b], i) => {
      const half = 4.5 * String(i).length;
      let best = null;
      for (const [dx, dy] of [[0, -17], [half + 13, 0], [-half - 13, 0], [0, 17], [13, -13], [-13, -13], [13, 13], [-13, 13]]) {
        const box = [a + dx - half, b + dy - 7, a + dx + half, b + dy + 7];
        const covered = taken.reduce((sum, other) => sum + overlap(box, other), 0);
        if (!best || covered < best.covered) best = { covered, box, dx, dy };
        if (covered === 0) break;
      }
      taken.push(best.box);
      this.points[i].lastChild.setAttribute("x", best.dx);
      this.points[i].lastChild.setAttribute("y", best.dy + 5);
    });
  }

  /** Mark what is chosen, pointed at, or of another cluster than the one looked at. */
  mark() {
    const focused = this.looked ?? this.data.highlight ?? null;
    this.data.labels.forEach((c, i) => {
      for (const node of [this.points[i], this.tiles[i]]) {
        node.classList.toggle("chosen", this.chosen.has(i));
        node.classList.toggle("faded", focused !== null && c !== focused);
        node.classList.toggle("pointed", i === this.pointed);
        node.setAttribute("aria-selected", this.chosen.has(i));
      }
      this.points[i].tabIndex = i === this.at.map ? 0 : -1;
    });
    this.data.order.forEach((i, t) => { this.tiles[i].tabIndex = t === this.at.grid ? 0 : -1; });
    for (const cross of this.crosses.children) {
      const other = Number(cross.dataset.cluster) !== focused;
      cross.classList.toggle("faded", focused !== null && other);
      cross.toggleAttribute("hidden", this.crosses.children.length > CROSSES && other);
    }
  }

  single(cluster) {
    this.looked = cluster;
    this.mark();
  }

  // ---- what a person does

  filterOf(node) {
    const found = node.closest?.("[data-filter]");
    return found ? Number(found.dataset.filter) : null;
  }

  /** Point at a filter, or at none: its kernel is shown and its cluster stands out. */
  point(i, node) {
    this.pointed = i ?? undefined;
    this.single(i === null ? null : this.data.labels[i]);
    this.tip.hidden = i === null;
    if (i === null) return;
    const note = document.createElement("small");
    note.textContent = this.data.whole.words;
    this.tip.replaceChildren(this.whole(i), document.createTextNode(this.describe(i)), note);
    const box = node.getBoundingClientRect(), frame = this.frame.getBoundingClientRect();
    const left = box.right - frame.left + 10, wide = this.tip.offsetWidth;
    this.tip.style.left = `${left + wide > frame.width ? box.left - frame.left - wide - 10 : left}px`;
    const top = box.top - frame.top + box.height / 2 - this.tip.offsetHeight / 2;
    this.tip.style.top = `${Math.max(0, Math.min(top, frame.height - this.tip.offsetHeight))}px`;
  }

  choose(filters) {
    this.chosen = new Set(filters);
    this.turn += 1;
    this.mark();
    this.send({ group: this.data.group, filters: [...this.chosen].sort((a, b) => a - b), turn: this.turn });
  }

  /** A click chooses one filter, with shift it is added or taken away; a click beside all of them chooses none. */
  click(i, more) {
    if (i === null) {
      if (!more && this.chosen.size) this.choose([]);
    } else if (!more) this.choose(this.chosen.size === 1 && this.chosen.has(i) ? [] : [i]);
    else this.toggle(i);
  }

  toggle(i) {
    this.choose(this.chosen.has(i) ? [...this.chosen].filter(j => j !== i) : [...this.chosen, i]);
  }

  /** A drag draws a lasso around filters; a click is told by the place where it began. */
  listenToMap() {
    let start = null, drawn = [];
    const at = event => {
      const box = this.map.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.map.addEventListener("pointerdown", event => {
      if (event.button) return;
      start = { place: at(event), filter: this.filterOf(event.target) };
      drawn = [];
      this.map.setPointerCapture(event.pointerId);
    });
    this.map.addEventListener("pointermove", event => {
      if (!start) return;
      const place = at(event);
      if (!drawn.length && Math.hypot(place[0] - start.place[0], place[1] - start.place[1]) < CLICK) return;
      if (!drawn.length) drawn.push(start.place);
      drawn.push(place);
      this.point(null);
      this.lasso.setAttribute("d", `M${drawn.map(p => p.map(v => v.toFixed(1)).join()).join("L")}Z`);
    });
    this.map.addEventListener("pointerup", event => {
      if (!start) return;
      if (drawn.length) {
        const inside = this.where.flatMap(([a, b], i) => (this.lasso.isPointInFill(new DOMPoint(a, b)) ? [i] : []));
        this.choose(event.shiftKey ? [...this.chosen, ...inside] : inside);
      } else this.click(start.filter, event.shiftKey);
      this.lasso.removeAttribute("d");
      start = null;
    });
    this.map.addEventListener("pointercancel", () => {
      this.lasso.removeAttribute("d");
      start = null;
    });
  }

  /** Listen to pointing and keys in one view: arrows move, space and enter choose, escape chooses none. */
  listen(view, nodes, name) {
    const over = event => {
      const i = this.filterOf(event.target);
      if (!this.lasso.hasAttribute("d")) this.point(i, nodes[i]);
    };
    view.addEventListener("pointerover", over);
    view.addEventListener("focusin", event => event.target.matches(":focus-visible") && over(event));
    for (const event of ["pointerleave", "focusout"]) view.addEventListener(event, () => this.point(null));
    view.addEventListener("keydown", event => {
      const i = this.filterOf(event.target);
      if (i === null || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key in TURNS) {
        const next = name === "map" ? this.neighbour(i, TURNS[event.key]) : this.beside(i, TURNS[event.key]);
        if (next !== null) this.focus(next, nodes, name);
      } else if (event.key === " " || event.key === "Enter") this.toggle(i);
      else if (event.key === "Escape") this.choose([]);
      else return;
      event.preventDefault();
    });
  }

  focus(i, nodes, name) {
    this.at[name] = name === "map" ? i : this.data.order.indexOf(i);
    this.mark();
    nodes[i].focus();
  }

  /** The nearest filter of the map in a direction; none where there is none. */
  neighbour(i, [dx, dy]) {
    let best = null, least = Infinity;
    this.where.forEach(([a, b], j) => {
      const along = (a - this.where[i][0]) * dx + (b - this.where[i][1]) * dy;
      const aside = Math.abs((a - this.where[i][0]) * dy) + Math.abs((b - this.where[i][1]) * dx);
      const far = along + 2 * aside;
      if (j !== i && along > 0 && far < least) [best, least] = [j, far];
    });
    return best;
  }

  /** The tile beside a filter's in a direction. */
  beside(i, [dx, dy]) {
    const t = this.data.order.indexOf(i) + dx + dy * this.data.sheet.columns;
    return this.data.order[t] ?? null;
  }

  // ---- the map as a picture

  save() {
    const copy = this.map.cloneNode(true), ink = getComputedStyle(this.frame);
    copy.removeAttribute("class");
    copy.querySelectorAll("[hidden]").forEach(node => node.remove());
    for (const node of copy.querySelectorAll("g[style]")) {
      node.setAttribute("transform", node.style.transform.replaceAll("px", ""));
      node.removeAttribute("style");
    }
    for (const node of copy.querySelectorAll("text, .cross path")) node.setAttribute("fill", ink.color);
    for (const node of copy.querySelectorAll(".faded")) node.setAttribute("opacity", 0.25);
    copy.setAttribute("font-size", 14);
    savePicture(copy, {
      name: `pdc-map-${this.data.group}`, format: this.data.picture, width: this.map.clientWidth, height: HEIGHT,
      ink: ink.color, paper: ink.getPropertyValue("--st-background-color"),
    });
  }
}
