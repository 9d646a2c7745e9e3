// The network as a picture, drawn by pdc_core.charts.network: bars that are dragged, wheeled and moved by arrow keys.
//
// Python sends what `ui.network_picture.picture_data` describes and hears {do, counts, turn} after every act: all counts
// that it has not confirmed yet, so that nothing is lost where two acts meet one run of the page. Turns count up here;
// an answer to an older turn does not undo what was done in the meantime.

const PAUSE = 350; // milliseconds without a change after which counts are sent
const CLICK = 4; // pixels: a pointer that moves less is a click
const NOTCH = 100; // pixels of a wheel that are one step
const SCROLLING = 250; // milliseconds: a wheel that was turning already scrolls the page on
const FINE = 64; // steps of the wheel from one cluster to all filters
const RATIO = 0.02; // of its filters, by which one step changes a bar of several groups

const pictures = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  let picture = pictures.get(parentElement);
  if (!picture) pictures.set(parentElement, (picture = new Picture(parentElement)));
  picture.send = act => setTriggerValue("act", act);
  picture.show(data);
  picture.observer.observe(picture.scroller);
  return () => picture.observer.disconnect();
}

/** The counts that a group allows, ascending: listed, or as {from, to, by}. */
function listed(allowed) {
  if (Array.isArray(allowed)) return allowed;
  const counts = [];
  for (let k = allowed.from; k <= allowed.to; k += allowed.by) counts.push(k);
  return counts;
}

class Picture {
  constructor(root) {
    const find = name => root.querySelector(`.${name}`);
    [this.frame, this.title, this.scroller, this.status] = ["network", "title", "scroll", "status"].map(find);
    this.pending = {}; // counts that Python has not confirmed
    this.turn = this.waiting = 0;
    this.at = { node: null, block: null }; // where the keyboard is
    for (const button of root.querySelectorAll(".save")) button.addEventListener("click", () => this.save(button.dataset.format));
    this.observer = new ResizeObserver(() => { // a closed expander has no width
      this.toSelected();
      this.fade();
    });
    this.listen();
  }

  // ---- what is shown

  show(data) {
    const focused = this.focusedKey();
    if (!this.waiting && data.turn >= this.turn) this.pending = {};
    this.turn = Math.max(this.turn, data.turn);
    this.data = data;
    this.groups = Object.fromEntries(
      Object.entries(data.groups).map(([name, g]) => [name, { ...g, k: this.pending[name] ?? g.k, counts: listed(g.allowed) }]),
    );
    this.title.textContent = data.title;
    if (this.drawn !== data.svg) {
      this.scroller.innerHTML = data.svg; // every name in it was escaped where it was drawn
      this.drawn = data.svg;
    }
    this.svg = this.scroller.firstElementChild;
    const width = this.svg.viewBox.baseVal.width;
    Object.assign(this.svg.style, { width: "100%", minWidth: `${data.scale[0] * width}px`, maxWidth: `${data.scale[1] * width}px` });
    this.nodes = new Map([...this.svg.querySelectorAll(".node")].map(node => [node.dataset.node, node]));
    this.blocks = new Map([...this.svg.querySelectorAll(".block")].map(node => [node.dataset.block, node]));
    for (const [key, node] of this.nodes) this.dress(key, node);
    for (const [key, node] of this.blocks) {
      node.setAttribute("role", "button");
      node.setAttribute("aria-expanded", node.dataset.folded === "0");
      node.setAttribute("aria-label", `Block ${key}`);
    }
    if (!this.nodes.has(this.at.node)) this.at.node = this.svg.querySelector(".node.selected")?.dataset.node ?? this.nodes.keys().next().value ?? null;
    if (!this.blocks.has(this.at.block)) this.at.block = this.blocks.keys().next().value ?? null;
    this.mark();
    if (focused) this[focused[0]].get(focused[1])?.focus({ preventScroll: true });
    this.toSelected();
    this.fade();
    this.tell();
  }

  focusedKey() {
    const active = this.scroller.getRootNode().activeElement?.closest?.(".node, .block");
    if (!active || !this.scroller.contains(active)) return null;
    return active.dataset.node !== undefined ? ["nodes", active.dataset.node] : ["blocks", active.dataset.block];
  }

  /** Give a bar its count, and its role for people who use a keyboard or a screen reader. */
  dress(key, node) {
    const bar = this.data.bars[key], free = this.data.editable && this.free(bar).length > 0;
    node.classList.toggle("free", free);
    node.setAttribute("role", free ? "slider" : "button");
    node.setAttribute("aria-label", bar.text);
    this.fill(key, node);
  }

  free(bar) { return bar.parts.map(([name]) => name).filter(name => this.groups[name]?.counts.length > 1); }
  kept(bar) { return bar.parts.reduce((sum, [name, times]) => sum - times * (this.groups[name].n - this.groups[name].k), bar.before); }

  /** Draw how much of a bar is kept. */
  fill(key, node) {
    const bar = this.data.bars[key], whole = node.querySelector(".whole"), kept = this.kept(bar);
    const height = Number(whole.getAttribute("height")), foot = Number(whole.getAttribute("y")) + height;
    const top = foot - (height * kept) / Math.max(bar.before, 1);
    const part = node.querySelector(".kept");
    part.setAttribute("y", top);
    part.setAttribute("height", foot - top);
    node.querySelector(".handle")?.setAttribute("transform", `translate(0,${top})`);
    node.querySelector(".count").textContent = kept.toLocaleString("en");
    if (node.getAttribute("role") !== "slider") return;
    const spoken = { min: 1, max: bar.before, now: kept, text: `${kept} of ${bar.before} filters` };
    for (const [name, value] of Object.entries(spoken)) node.setAttribute(`aria-value${name}`, value);
    node.setAttribute("aria-orientation", "vertical");
  }

  /** One bar and one block are in the order of the tab key; arrows go on from there. */
  mark() {
    for (const [key, node] of this.nodes) node.setAttribute("tabindex", key === this.at.node ? 0 : -1);
    for (const [key, node] of this.blocks) node.setAttribute("tabindex", key === this.at.block ? 0 : -1);
  }

  /** Write the bar that is pointed at or has the focus in words, or what can be done. */
  tell(key = this.focusedKey()?.[0] === "nodes" ? this.focusedKey()[1] : null) {
    const bar = key === null ? null : this.data.bars[key];
    if (!bar) this.status.textContent = this.data.hint;
    else if (bar.parts.some(([name]) => name in this.pending)) this.status.textContent = `${bar.name} · ${this.kept(bar)} of ${bar.before} filters`;
    else this.status.textContent = bar.text;
  }

  /** Scroll to the selected bar, once for each. */
  toSelected() {
    const chosen = this.svg?.querySelector(".node.selected");
    if (!chosen || chosen.dataset.node === this.scrolledTo || !this.scroller.clientWidth) return;
    this.scrolledTo = chosen.dataset.node;
    const box = chosen.getBoundingClientRect(), frame = this.scroller.getBoundingClientRect();
    this.scroller.scrollLeft += box.left + box.width / 2 - frame.left - frame.width / 2;
  }

  /** Fade the picture out on a side where it goes on. */
  fade() {
    const { scrollLeft: left, scrollWidth, clientWidth } = this.scroller;
    this.scroller.classList.toggle("before", left > 1);
    this.scroller.classList.toggle("after", left + clientWidth < scrollWidth - 1);
  }

  // ---- counts

  /** Set the groups of a bar to the allowed counts nearest to a ratio of their filters. */
  toRatio(key, ratio) {
    const counts = {};
    for (const name of this.free(this.data.bars[key])) {
      const { n, counts: allowed } = this.groups[name], wanted = Math.min(Math.max(ratio, 0), 1) * n;
      counts[name] = allowed.reduce((best, k) => (Math.abs(k - wanted) < Math.abs(best - wanted) ? k : best));
    }
    this.change(key, counts);
  }

  /** Move a bar by steps: one allowed count each, or a small ratio for a bar of several groups. */
  step(key, steps) {
    const names = this.free(this.data.bars[key]);
    if (names.length > 1) return this.toRatio(key, this.ratio(key) + RATIO * steps);
    const { k, counts } = this.groups[names[0]], at = counts.findIndex(each => each >= k);
    this.change(key, { [names[0]]: counts[Math.min(Math.max(at + steps, 0), counts.length - 1)] });
  }

  ratio(key) {
    const names = this.free(this.data.bars[key]), sum = field => names.reduce((total, name) => total + this.groups[name][field], 0);
    return sum("k") / sum("n");
  }

  change(key, counts) {
    const changed = Object.keys(counts).filter(name => this.groups[name].k !== counts[name]);
    if (!changed.length) return;
    for (const name of changed) this.pending[name] = this.groups[name].k = counts[name];
    for (const [other, node] of this.nodes)
      if (this.data.bars[other].parts.some(([name]) => changed.includes(name))) this.fill(other, node);
    this.tell(key);
    this.changedBy = this.data.bars[key].name;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.act("count"), PAUSE);
  }

  act(what, more = {}) {
    clearTimeout(this.waiting);
    this.waiting = 0;
    this.turn += 1;
    this.send({ do: what, counts: { ...this.pending }, by: this.changedBy ?? "", turn: this.turn, ...more });
  }

  // ---- pointing, wheel, keys

  listen() {
    const keyOf = event => event.target.closest?.(".node")?.dataset.node ?? null;
    let start = null, turned = 0, rest = 0, over = null;
    this.scroller.addEventListener("pointerdown", event => {
      const key = keyOf(event);
      if (event.button || key === null) return;
      start = { key, y: event.clientY, ratio: null };
      this.at.node = key;
      this.mark();
      this.scroller.setPointerCapture(event.pointerId);
    });
    this.scroller.addEventListener("pointermove", event => {
      if (!start || !this.nodes.has(start.key)) return;
      const free = this.nodes.get(start.key).classList.contains("free");
      if (start.ratio === null && (!free || Math.abs(event.clientY - start.y) < CLICK)) return;
      start.ratio ??= this.ratio(start.key);
      const height = this.nodes.get(start.key).querySelector(".whole").getBoundingClientRect().height;
      this.toRatio(start.key, start.ratio + (start.y - event.clientY) / height);
    });
    this.scroller.addEventListener("pointerup", event => {
      if (!start) return;
      const { key, ratio } = start;
      start = null;
      if (ratio === null && this.nodes.has(key)) this.open(key);
    });
    this.scroller.addEventListener("pointercancel", () => (start = null));
    this.scroller.addEventListener("scroll", () => this.fade(), { passive: true });
    this.scroller.addEventListener("pointerover", event => start || this.tell(keyOf(event)));
    this.scroller.addEventListener("pointerleave", () => start || this.tell());
    this.scroller.addEventListener("click", event => {
      const block = event.target.closest?.(".block");
      if (block) this.act("fold", { block: block.dataset.block });
    });
    // A wheel that scrolls the page goes on scrolling it when a bar comes under the pointer.
    window.addEventListener("wheel", event => {
      if (!event.composedPath().includes(this.scroller) || keyOf({ target: event.composedPath()[0] }) === null) turned = event.timeStamp;
    }, { passive: true, capture: true });
    this.scroller.addEventListener("wheel", event => {
      const key = keyOf(event);
      if (key === null || event.ctrlKey || event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
      if (!this.nodes.get(key).classList.contains("free")) return;
      if (event.timeStamp - turned < SCROLLING) return void (turned = event.timeStamp);
      event.preventDefault();
      if (key !== over) [over, rest] = [key, 0];
      rest -= event.deltaMode ? NOTCH * Math.sign(event.deltaY) : event.deltaY;
      const steps = Math.trunc(rest / NOTCH);
      if (!steps) return;
      rest -= NOTCH * steps;
      const names = this.free(this.data.bars[key]);
      const stride = names.length > 1 ? 1 : Math.max(1, Math.round(this.groups[names[0]].counts.length / FINE));
      this.step(key, Math.min(Math.max(steps, -3), 3) * stride);
    }, { passive: false });
    this.scroller.addEventListener("focusin", () => this.tell());
    this.scroller.addEventListener("focusout", () => this.tell(null));
    this.scroller.addEventListener("keydown", event => this.press(event));
  }

  /** Left and right go to the next bar or block, enter opens or folds; up and down change a count. */
  press(event) {
    const focused = this.focusedKey();
    if (!focused || event.altKey || event.ctrlKey || event.metaKey) return;
    const [kind, key] = focused, keys = [...this[kind].keys()], aside = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const free = kind === "nodes" && this.nodes.get(key).classList.contains("free");
    const many = free ? Math.max(1, Math.round(this.groups[this.free(this.data.bars[key])[0]].counts.length / 8)) : 0;
    const steps = { ArrowUp: 1, ArrowDown: -1, PageUp: many, PageDown: -many }[event.key];
    if (aside) {
      const next = keys[keys.indexOf(key) + aside];
      if (next !== undefined) {
        this.at[kind === "nodes" ? "node" : "block"] = next;
        this.mark();
        this[kind].get(next).focus();
      }
    } else if (event.key === "Enter" || event.key === " ") {
      if (kind === "nodes") this.open(key);
      else this.act("fold", { block: key });
    } else if (free && steps) this.step(key, steps);
    else if (free && event.key === "Home") this.toRatio(key, 0);
    else if (free && event.key === "End") this.toRatio(key, 1);
    else return;
    event.preventDefault();
  }

  /** Open a layer, or unfold a block. */
  open(key) {
    const bar = this.data.bars[key];
    if (bar.block) this.act("fold", { block: bar.block });
    else if (bar.parts.length) this.act("open", { group: bar.parts[0][0] });
  }

  // ---- the picture as a file

  save(format) {
    const copy = this.svg.cloneNode(true), ink = getComputedStyle(this.frame), { width, height } = this.svg.viewBox.baseVal;
    copy.removeAttribute("style");
    const title = document.createElementNS(copy.namespaceURI, "title");
    title.textContent = this.data.title;
    copy.prepend(title);
    const paper = ink.getPropertyValue("--st-background-color");
    savePicture(copy, { name: this.data.name, format, width, height, ink: ink.color, paper });
  }
}
