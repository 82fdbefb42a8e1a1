// A logo in the room that a QR code leaves for it: laid there in this browser, and sent nowhere.

/** Pixels of a logo's side in a file, and its distance from what is around it. */
const SIDE = 512;
const GAP = 32;

const read = (file) => new Promise((done, fail) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result);
  reader.onerror = () => fail(reader.error);
  reader.readAsDataURL(file);
});

async function loaded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

function painted(side, image, left, top, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  canvas.getContext("2d").drawImage(image, left, top, width, height);
  return canvas;
}

/** The code of an SVG with a picture in its room. Of the picture nothing but pixels gets into it. */
export async function withLogo(svg, file) {
  const picture = await loaded(await read(file));
  // An SVG may have no size of its own.
  const [width, height] = [picture.naturalWidth || SIDE, picture.naturalHeight || SIDE];
  const scale = (SIDE - 2 * GAP) / Math.max(width, height);
  const [wide, high] = [width * scale, height * scale];
  const canvas = painted(SIDE, picture, (SIDE - wide) / 2, (SIDE - high) / 2, wide, high);
  return svg.replace('<rect id="logo"', `<image href="${canvas.toDataURL()}"`);
}

export async function asPng(svg, size) {
  const code = await loaded(`data:image/svg+xml,${encodeURIComponent(svg)}`);
  const canvas = painted(size, code, 0, 0, size, size);
  return new Promise((done) => canvas.toBlob(done));
}
