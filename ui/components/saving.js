// Pictures of the page as files.

/**
 * Let the browser save an SVG element as PNG or SVG.
 * @param picture the element, which is changed: styles of the page have to stand in its attributes already.
 * @param given {name, format: "png" | "svg", width, height} in pixels, and the colours {ink, paper} of the page.
 */
function savePicture(picture, { name, format, width, height, ink, paper }) {
  const attributes = { xmlns: "http://www.w3.org/2000/svg", width, height, color: ink, "font-family": "sans-serif" };
  for (const [key, value] of Object.entries(attributes)) picture.setAttribute(key, value);
  const sheet = document.createElementNS(attributes.xmlns, "rect");
  const { x, y } = picture.viewBox.baseVal ?? { x: 0, y: 0 };
  for (const [key, value] of Object.entries({ x, y, width, height, fill: paper })) sheet.setAttribute(key, value);
  picture.prepend(sheet);
  const file = new Blob([new XMLSerializer().serializeToString(picture)], { type: "image/svg+xml" });
  if (format === "svg") return download(file, `${name}.svg`);
  const image = new Image(), url = URL.createObjectURL(file);
  image.onload = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [2 * width, 2 * height];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(blob => download(blob, `${name}.png`));
    URL.revokeObjectURL(url);
  };
  image.src = url;
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

