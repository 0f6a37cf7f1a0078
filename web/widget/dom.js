// Elements and text nodes, the only things that the chat is built of: no text is ever parsed as markup.

// An element with attributes, properties (`on…` and booleans) and children; strings become text.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "boolean") element[name] = value;
    else if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function icon(...paths) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  for (const path of paths) {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", path);
    svg.append(line);
  }
  return svg;
}

const SCHEMES = ["http:", "https:", "mailto:", "tel:"];

// A link that opens a new tab; only its children if the address has another scheme or is relative.
export function link(address, ...children) {
  let scheme = "";
  try {
    scheme = new URL(address).protocol;
  } catch {
    // Not an absolute address.
  }
  if (!SCHEMES.includes(scheme)) return children;
  return [make("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow ugc" }, ...children)];
}

const ADDRESS = /https?:\/\/[^\s<>"'`]+/g;

// A text as nodes, with its http and https addresses as links. Punctuation that ends a sentence is not part of a link.
export function linked(text) {
  const nodes = [];
  let from = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    let address = found.replace(/[.,;:!?…»”’*_\]]+$/, "");
    if (address.endsWith(")") && !address.includes("(")) address = address.replace(/\)+[.,;:!?]*$/, "");
    nodes.push(text.slice(from, index), ...link(address, address));
    from = index + address.length;
  }
  return [...nodes, text.slice(from)];
}

// Draw a data URL on a square canvas. No request is made, so the page's Content-Security-Policy for images has no say.
export async function draw(canvas, url) {
  try {
    const [, kind, base64] = /^data:([\w/]+);base64,(.+)$/.exec(url);
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes], { type: kind }));
    const side = Math.min(image.width, image.height);
    const [left, top] = [(image.width - side) / 2, (image.height - side) / 2];
    canvas.getContext("2d").drawImage(image, left, top, side, side, 0, 0, canvas.width, canvas.height);
    canvas.hidden = false;
  } catch {
    canvas.hidden = true; // not an image that this browser knows
  }
}
