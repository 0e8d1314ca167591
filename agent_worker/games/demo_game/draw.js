// How Star Hopper looks. Reads the world, changes nothing in it.

const FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
// Always the same sky: three layers of stars, the nearest last.
const SKY = [0.12, 0.25, 0.45].map((depth, layer) =>
  Array.from({ length: 70 - layer * 18 }, (_, i) => ({
    x: ((i * 7919 + layer * 104729) % 1000) / 1000,
    y: ((i * 6007 + layer * 15485) % 997) / 997,
    size: 0.7 + layer * 0.55 + (i % 5) * 0.12,
    depth,
  })),
);

export function drawScene(context, world, width, height) {
  const { canvas } = context;
  const scale = Math.max(canvas.width / width, canvas.height / height);
  context.setTransform(1, 0, 0, 1, 0, 0);
  drawSky(context, world, canvas.width, canvas.height);
  const left = (canvas.width - width * scale) / 2;
  const above = (canvas.height - height * scale) / 2;
  context.setTransform(scale, 0, 0, scale, left - world.sway * scale, above);
  const toY = (y) => height - (y - world.camera);
  const highest = world.mode === "title" ? 250 : Infinity; // leaves the sky to the title
  for (const planet of world.planets) if (planet.y < highest) drawPlanet(context, planet, toY(planet.y));
  for (const star of world.collectibles) if (!star.taken && star.y < highest) drawStar(context, star.x, toY(star.y) + Math.sin(world.time * 3 + star.x) * 3, 13);
  for (const spark of world.sparks) {
    const left = 1 - spark.age / spark.life;
    context.fillStyle = `hsl(${spark.hue} 100% 75% / ${left})`;
    context.beginPath();
    context.arc(spark.x, toY(spark.y), 1 + 3 * left, 0, 7);
    context.fill();
  }
  drawHopper(context, world.hopper, toY(world.hopper.y));
  if (world.hopper.bubble) drawBubble(context, world.hopper.x, toY(world.hopper.y));
  for (const note of world.notes) {
    text(context, note.text, note.x, toY(note.y) - 20 - note.age * 40, 20, `hsl(48 100% 75% / ${1 - note.age / 0.9})`);
  }
  context.setTransform(scale, 0, 0, scale, left, above);
  if (world.mode === "playing") drawScore(context, world, width);
  if (world.mode === "title") drawTitle(context, world, width);
  if (world.mode === "over") drawOver(context, world, width, height);
}

// What costs time and seldom changes is painted once, on canvases of its own: the sky, and each planet.
function painted(width, height, paint) {
  const sheet = document.createElement("canvas");
  sheet.width = Math.ceil(width);
  sheet.height = Math.ceil(height);
  paint(sheet.getContext("2d"));
  return sheet;
}

let sky = null;
let skyKey = "";

function drawSky(context, world, width, height) {
  const rise = Math.round(Math.min(1, world.camera / 6000) * 50) / 50;
  const key = `${width} ${height} ${rise}`;
  if (key !== skyKey) {
    skyKey = key;
    sky = painted(width, height, (sheet) => paintSky(sheet, rise, width, height));
  }
  context.drawImage(sky, 0, 0);
  for (const layer of SKY) {
    context.fillStyle = `hsl(225 100% 92% / ${0.4 + layer[0].depth})`;
    for (const star of layer) {
      const y = (star.y * height + world.camera * star.depth * (height / 540)) % height;
      const x = (star.x * width - world.sway * star.depth * (height / 540) + width) % width;
      const size = (star.size * height) / 360;
      context.fillRect(x, y, size, size);
    }
  }
}

function paintSky(context, rise, width, height) {
  const dusk = context.createLinearGradient(0, 0, 0, height);
  dusk.addColorStop(0, `hsl(${244 + rise * 30} 60% ${9 - rise * 3}%)`);
  dusk.addColorStop(0.6, `hsl(${262 + rise * 40} 52% ${20 - rise * 6}%)`);
  dusk.addColorStop(1, `hsl(${318 - rise * 60} 55% ${34 - rise * 16}%)`);
  context.fillStyle = dusk;
  context.fillRect(0, 0, width, height);
  const moonX = width * 0.92;
  const moonY = height * (0.17 + rise * 0.25);
  const halo = context.createRadialGradient(moonX, moonY, height * 0.04, moonX, moonY, height * 0.42);
  halo.addColorStop(0, "hsl(35 100% 85% / 0.45)");
  halo.addColorStop(1, "hsl(35 100% 70% / 0)");
  disc(context, moonX, moonY, height * 0.42, halo);
  disc(context, moonX, moonY, height * 0.062, "hsl(38 90% 90%)");
}

function drawPlanet(context, planet, y) {
  const { x, r } = planet;
  if (planet.ground) return drawGround(context, planet, y);
  planet.sheet ??= painted(r * 6.4, r * 6.4, (sheet) => paintPlanet(sheet, planet));
  context.globalAlpha = planet.kind === "crumbling" ? Math.max(0, 1 - planet.gone / 0.35) : 1;
  if (planet.glow) disc(context, x, y, r * (1.05 + 0.25 * planet.glow), `hsl(${planet.hue} 100% 75% / ${0.3 * planet.glow})`);
  if (y > -r * 2) context.drawImage(planet.sheet, x - r * 1.6, y - r * 1.6, r * 3.2, r * 3.2);
  context.globalAlpha = 1;
}

function drawGround(context, { x, r, hue }, y) {
  disc(context, x, y, r + 14, `hsl(${hue} 100% 75% / 0.12)`);
  const body = context.createLinearGradient(0, y - r, 0, y - r + 110);
  body.addColorStop(0, `hsl(${hue} 75% 74%)`);
  body.addColorStop(0.5, `hsl(${hue + 12} 55% 50%)`);
  body.addColorStop(1, `hsl(${hue + 35} 60% 26%)`);
  disc(context, x, y, r, body);
}

// A planet of radius r in the middle of a sheet, at twice the world's size.
function paintPlanet(context, { r, hue, kind, ring }) {
  context.scale(2, 2);
  context.translate(r * 1.6, r * 1.6);
  const aura = context.createRadialGradient(0, 0, r * 0.9, 0, 0, r * 1.5);
  aura.addColorStop(0, `hsl(${hue} 100% 75% / 0.18)`);
  aura.addColorStop(1, `hsl(${hue} 100% 70% / 0)`);
  disc(context, 0, 0, r * 1.5, aura);
  if (ring) drawRing(context, 0, 0, r, hue, true);
  const tone = kind === "crumbling" ? 18 : 62;
  const body = context.createRadialGradient(-r * 0.4, -r * 0.5, r * 0.1, 0, 0, r);
  body.addColorStop(0, `hsl(${hue} ${tone + 18}% 78%)`);
  body.addColorStop(0.5, `hsl(${hue + 12} ${tone}% 56%)`);
  body.addColorStop(1, `hsl(${hue + 35} ${tone}% 26%)`);
  disc(context, 0, 0, r, body);
  context.save();
  context.clip(); // to the disc, which is still the path
  for (const [dx, dy, size] of [[-0.35, 0.2, 0.2], [0.3, -0.3, 0.15], [0.35, 0.4, 0.24], [-0.1, -0.55, 0.1]]) {
    disc(context, dx * r, dy * r, size * r, `hsl(${hue + 20} ${tone}% 35% / 0.45)`);
  }
  if (kind === "crumbling") {
    context.strokeStyle = "hsl(250 30% 15% / 0.7)";
    context.lineWidth = 2.5;
    context.beginPath();
    for (const [dx, dy] of [[-0.2, -1], [0.1, -0.4], [-0.25, 0], [0.15, 0.5]]) context.lineTo(dx * r, dy * r);
    context.stroke();
  }
  context.restore();
  if (ring) drawRing(context, 0, 0, r, hue, false);
}

function drawRing(context, x, y, r, hue, behind) {
  context.strokeStyle = `hsl(${hue + 60} 80% 82% / 0.75)`;
  context.lineWidth = 4;
  context.beginPath();
  context.ellipse(x, y, r * 1.5, r * 0.38, -0.25, behind ? Math.PI : 0, behind ? Math.PI * 2 : Math.PI);
  context.stroke();
}

function disc(context, x, y, r, style) {
  context.fillStyle = style;
  context.beginPath();
  context.arc(x, y, r, 0, 7);
  context.fill();
}

let starSheet = null;

function drawStar(context, x, y, r) {
  starSheet ??= painted(144, 144, paintStar);
  context.drawImage(starSheet, x - r * 2.4, y - r * 2.4, r * 4.8, r * 4.8);
}

function paintStar(context) {
  const r = 30;
  const [x, y] = [72, 72];
  const glow = context.createRadialGradient(x, y, 2, x, y, r * 2.4);
  glow.addColorStop(0, "hsl(48 100% 70% / 0.6)");
  glow.addColorStop(1, "hsl(48 100% 70% / 0)");
  disc(context, x, y, r * 2.4, glow);
  context.fillStyle = "hsl(48 100% 68%)";
  context.strokeStyle = "hsl(38 100% 88%)";
  context.lineWidth = 4;
  context.lineJoin = "round";
  context.beginPath();
  for (let i = 0; i < 10; i++) {
    const angle = (i * Math.PI) / 5 - Math.PI / 2;
    const reach = i % 2 ? r * 0.48 : r;
    context.lineTo(x + Math.cos(angle) * reach, y + Math.sin(angle) * reach);
  }
  context.closePath();
  context.fill();
  context.stroke();
}

function drawHopper(context, hopper, y) {
  context.save();
  context.translate(hopper.x, y);
  context.rotate(hopper.vx * 0.0006);
  context.scale(1 + hopper.squash * 0.6, 1 - hopper.squash * 0.6);
  if (!hopper.canBoost) disc(context, 0, 20, 7, "hsl(190 100% 75% / 0.5)");
  context.strokeStyle = "#fff";
  context.lineWidth = 3;
  context.lineCap = "round";
  context.beginPath();
  context.moveTo(0, -22);
  context.lineTo(-hopper.facing * 3, -33);
  context.stroke();
  disc(context, -hopper.facing * 3, -35, 4, hopper.canBoost ? "hsl(165 100% 65%)" : "hsl(350 100% 68%)");
  for (const side of [-1, 1]) {
    context.fillStyle = "hsl(25 95% 58%)";
    context.beginPath();
    context.ellipse(side * 10, 21, 8, 5, 0, 0, 7);
    context.fill();
  }
  const suit = context.createRadialGradient(-7, -9, 3, 0, 0, 25);
  suit.addColorStop(0, "#ffffff");
  suit.addColorStop(1, "#c3cdf5");
  disc(context, 0, 0, 23, suit);
  const visor = context.createLinearGradient(0, -14, 0, 8);
  visor.addColorStop(0, "hsl(200 90% 45%)");
  visor.addColorStop(1, "hsl(232 70% 20%)");
  context.fillStyle = visor;
  context.beginPath();
  context.ellipse(hopper.facing * 4, -4, 15, 11, 0, 0, 7);
  context.fill();
  disc(context, hopper.facing * 4 - 6, -8, 3, "hsl(190 100% 92% / 0.9)");
  for (const side of [-1, 1]) disc(context, hopper.facing * 6 + side * 5, -3, 2.4, "hsl(48 100% 75%)");
  context.restore();
}

function drawBubble(context, x, y) {
  const shell = context.createRadialGradient(x - 12, y - 14, 6, x, y, 44);
  shell.addColorStop(0, "hsl(190 100% 95% / 0.35)");
  shell.addColorStop(0.8, "hsl(200 100% 80% / 0.12)");
  shell.addColorStop(1, "hsl(200 100% 85% / 0.6)");
  disc(context, x, y, 44, shell);
}

function text(context, words, x, y, size, style, align = "center", weight = 700) {
  context.font = `${weight} ${size}px ${FONT}`;
  context.textAlign = align;
  context.textBaseline = "alphabetic";
  context.fillStyle = style;
  context.fillText(words, x, y);
}

function drawScore(context, world, width) {
  text(context, `Score ${world.score}`, 28, 48, 30, "#fff", "left", 800);
  drawStar(context, 40, 76, 9);
  text(context, `${world.stars}`, 58, 83, 20, "hsl(48 100% 78%)", "left");
  for (let i = 0; i < 3; i++) drawHeart(context, 108 + i * 26, 77, i < world.hearts);
  if (world.best) text(context, `Best ${world.best}`, width - 28, 46, 20, "hsl(230 60% 85%)", "right", 600);
}

function drawHeart(context, x, y, full) {
  context.fillStyle = full ? "hsl(348 95% 66%)" : "hsl(250 40% 45% / 0.6)";
  context.beginPath();
  context.moveTo(x, y + 9);
  context.bezierCurveTo(x - 16, y - 3, x - 7, y - 14, x, y - 5);
  context.bezierCurveTo(x + 7, y - 14, x + 16, y - 3, x, y + 9);
  context.fill();
}

function drawTitle(context, world, width) {
  context.save();
  context.shadowColor = "hsl(285 100% 65% / 0.9)";
  context.shadowBlur = 34;
  text(context, "STAR HOPPER", width / 2, 158, 88, "#fff", "center", 900);
  context.shadowColor = "hsl(250 60% 10%)";
  context.shadowBlur = 8;
  text(context, "Press Space or click to start", width / 2, 206, 24, "hsl(48 100% 78%)");
  text(context, "← → or A D to steer  ·  Space to boost  ·  or hold the pointer where you want to go", width / 2, 524, 16, "#fff", "center", 600);
  context.restore();
}

function drawOver(context, world, width, height) {
  const shown = Math.min(1, world.time * 4);
  context.save();
  context.globalAlpha = shown;
  context.fillStyle = "hsl(245 60% 8% / 0.72)";
  context.beginPath();
  context.roundRect(width / 2 - 220, height / 2 - 130, 440, 250, 22);
  context.fill();
  text(context, "Game over", width / 2, height / 2 - 66, 46, "#fff", "center", 800);
  text(context, `Score ${world.score}`, width / 2, height / 2 - 4, 36, "hsl(48 100% 75%)", "center", 800);
  text(context, world.score > 0 && world.score >= world.best ? "A new best!" : `Best ${world.best}`, width / 2, height / 2 + 36, 20, "hsl(230 60% 85%)");
  text(context, "Space or click to hop again", width / 2, height / 2 + 88, 20, "#fff", "center", 600);
  context.restore();
}
