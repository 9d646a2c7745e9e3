// Images to choose from: {label, side, images: [{id, url, caption, note}], chosen}. Python hears of the trigger "picked": an id.

export default function ({ data, parentElement, setTriggerValue }) {
  const group = parentElement.querySelector(".thumbnails");
  group.setAttribute("aria-label", data.label);
  group.replaceChildren(...data.images.map(each => button(each, data, () => setTriggerValue("picked", each.id))));
}

function button({ id, url, caption, note }, { side, chosen }, pick) {
  const node = document.createElement("button"), image = document.createElement("img");
  Object.assign(image, { src: url, alt: "", width: side });
  const small = document.createElement("small");
  small.textContent = note ?? "";
  node.append(image, caption, small);
  node.dataset.image = id;
  node.setAttribute("aria-pressed", id === chosen);
  node.title = `Test image ${id}: try it`;
  node.onclick = pick;
  return node;
}
