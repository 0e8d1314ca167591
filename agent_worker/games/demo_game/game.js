// Star Hopper: hop from planet to planet, collect stars, don't fall. No libraries, no assets.
//
// ?bug=freeze  the main loop stops 3 s into a round
// ?bug=crash   the first boost throws, and the main loop ends with it
// ?bug=blank   nothing is ever painted
import { drawScene } from "./draw.js";

const WIDTH = 960; // the world's units; the canvas shows 960 x 540 of them at any size
const HEIGHT = 540;
const GRAVITY = 1500; // units/s²
const BOUNCE = 760; // units/s
const BOOST = 700;
const RESCUE = 5; // 1/s: how quickly a bubble nears the planet it carries to
const EDGE = 30;
const SWAY = 0.3; // how much of the hopper's way to a side the view goes along
const STEER = 2600;
const DIVE = 2400;
const TOP_SPEED = 430;
const FREEZE_AFTER_MS = 3000;

const bug = new URLSearchParams(location.search).get("bug");
const canvas = document.getElementById("game");
const context = canvas.getContext("2d");
const held = new Set();
const pointer = { down: false, x: 0 };
let best = 0;
let world = newWorld("title");

function newWorld(mode) {
  const world = {
    mode, // "title", "playing" or "over"
    time: 0, // seconds of the game in this mode; slower than the clock where frames take long
    began: performance.now(),
    camera: 0, // the world's y at the lower edge of the view
    sway: 0, // how far the view has gone to the right
    top: 0, // how high planets have been laid out
    height: 0,
    stars: 0,
    hearts: 3,
    score: 0,
    best,
    wantsBoost: false,
    hopper: { x: WIDTH / 2, y: 74, vx: 0, vy: BOUNCE, squash: 0, canBoost: true, facing: 1, bubble: null },
    planets: [{ x: WIDTH / 2, y: -760, r: 830, hue: 255, ground: true, kind: "ground", hit: 0, gone: 0 }],
    collectibles: [],
    sparks: [],
    notes: [],
  };
  world.top = 120;
  layOut(world);
  return world;
}

function layOut(world) {
  while (world.top < world.camera + HEIGHT * 2) {
    const level = Math.min(1, world.top / 9000);
    const r = 52 - 18 * level + Math.random() * 14;
    const previous = world.planets[world.planets.length - 1];
    const from = previous.ground ? WIDTH / 2 : previous.x;
    const reach = 190 + 130 * level;
    const x = Math.min(WIDTH - 90, Math.max(90, from + (Math.random() * 2 - 1) * reach * 1.3));
    const chance = Math.random();
    const kind = chance < 0.22 * level + 0.06 ? "crumbling" : chance < 0.5 * level + 0.12 ? "moving" : "still";
    world.planets.push({ x, y: world.top, home: x, r, hue: (200 + world.top * 0.05 + Math.random() * 70) % 360, kind, phase: Math.random() * 6, ring: Math.random() < 0.35, hit: 0, gone: 0 });
    if (Math.random() < 0.75) world.collectibles.push({ x, y: world.top + r + 62 + Math.random() * 40, taken: false });
    if (Math.random() < 0.3) world.collectibles.push({ x: 80 + Math.random() * (WIDTH - 160), y: world.top + 90, taken: false });
    world.top += 118 + 40 * level + Math.random() * 26;
  }
  world.planets = world.planets.filter((each) => each.y + each.r > world.camera - 60 && each.gone < 0.35);
  world.collectibles = world.collectibles.filter((each) => !each.taken && each.y > world.camera - 60);
}

function press() {
  if (world.mode === "playing") world.wantsBoost = true;
  else if (world.mode === "title" || world.time > 0.5) world = newWorld("playing");
}

function boost() {
  const { hopper } = world;
  world.wantsBoost = false;
  if (!hopper.canBoost || hopper.bubble) return;
  if (bug === "crash") world.rocket.ignite(); // there is no rocket: that is the bug
  hopper.canBoost = false;
  hopper.vy = Math.max(hopper.vy, 0) * 0.35 + BOOST;
  hopper.squash = -0.3;
  burst(hopper.x, hopper.y - 16, 18, 190);
}

function burst(x, y, count, hue) {
  for (let i = 0; i < count; i++) {
    const angle = Math.random() * Math.PI * 2;
    const speed = 40 + Math.random() * 200;
    world.sparks.push({ x, y, vx: Math.cos(angle) * speed, vy: Math.sin(angle) * speed, life: 0.4 + Math.random() * 0.4, age: 0, hue });
  }
  world.sparks.splice(0, Math.max(0, world.sparks.length - 220));
}

function step(dt) {
  world.time += dt;
  for (const spark of world.sparks) {
    spark.age += dt;
    spark.x += spark.vx * dt;
    spark.y += spark.vy * dt;
    spark.vy -= 260 * dt;
  }
  world.sparks = world.sparks.filter((each) => each.age < each.life);
  for (const note of world.notes) note.age += dt;
  world.notes = world.notes.filter((each) => each.age < 0.9);
  if (world.mode === "over") return;

  if (world.wantsBoost) boost();
  const { hopper } = world;
  if (hopper.bubble) return carry(hopper, dt);
  let steer = Number(held.has("right")) - Number(held.has("left"));
  if (pointer.down && Math.abs(pointer.x - hopper.x) > 14) steer = Math.sign(pointer.x - hopper.x);
  if (world.mode === "title") steer = 0;
  hopper.vx += steer * STEER * dt;
  if (!steer) hopper.vx *= Math.exp(-7 * dt);
  hopper.vx = Math.max(-TOP_SPEED, Math.min(TOP_SPEED, hopper.vx));
  if (steer) hopper.facing = steer;
  hopper.vy -= (GRAVITY + (held.has("dive") ? DIVE : 0)) * dt;
  hopper.x += hopper.vx * dt;
  if (hopper.x < EDGE || hopper.x > WIDTH - EDGE) {
    hopper.x = Math.max(EDGE, Math.min(WIDTH - EDGE, hopper.x));
    hopper.vx *= -0.5;
  }
  world.sway += ((hopper.x - WIDTH / 2) * SWAY - world.sway) * Math.min(1, dt * 8);
  hopper.y += hopper.vy * dt;
  hopper.squash *= Math.exp(-9 * dt);
  if (hopper.vy > 260 && Math.random() < dt * 40) world.sparks.push({ x: hopper.x, y: hopper.y - 18, vx: 0, vy: -30, life: 0.5, age: 0, hue: 45 });

  for (const planet of world.planets) {
    if (planet.kind === "moving") planet.x = planet.home + Math.sin(world.time * 1.1 + planet.phase) * 80;
    if (planet.hit > 0 && planet.kind === "crumbling") planet.gone += dt;
    planet.glow = Math.max(0, (planet.glow ?? 0) - dt * 2.5);
    const dx = hopper.x - planet.x;
    const dy = hopper.y - planet.y;
    const near = planet.r + 20;
    if (hopper.vy < 0 && dy > 0 && dx * dx + dy * dy < near * near) {
      hopper.y = planet.y + Math.sqrt(near * near - dx * dx);
      hopper.vy = BOUNCE;
      hopper.canBoost = true;
      hopper.squash = 0.42;
      planet.hit += 1;
      planet.glow = 1;
      burst(hopper.x, hopper.y - 20, 7, planet.hue);
    }
  }
  for (const star of world.collectibles) {
    const dx = hopper.x - star.x;
    const dy = hopper.y - star.y;
    if (!star.taken && dx * dx + dy * dy < 40 * 40) {
      star.taken = true;
      world.stars += 1;
      world.notes.push({ x: star.x, y: star.y, text: "+25", age: 0 });
      burst(star.x, star.y, 14, 48);
    }
  }
  if (world.mode === "title") return;
  world.camera = Math.max(world.camera, hopper.y - HEIGHT * 0.52);
  world.height = Math.max(world.height, hopper.y - 250);
  world.score = Math.round(world.height / 10) + world.stars * 25;
  layOut(world);
  if (hopper.y < world.camera - 40) fall();
}

function carry(hopper, dt) {
  const { x, y, r } = hopper.bubble;
  const part = Math.min(1, dt * RESCUE);
  hopper.x += (x - hopper.x) * part;
  hopper.y += (y + r + 90 - hopper.y) * part;
  world.sway += ((hopper.x - WIDTH / 2) * SWAY - world.sway) * part;
  if (Math.abs(x - hopper.x) + Math.abs(y + r + 90 - hopper.y) > 6) return;
  burst(hopper.x, hopper.y, 12, 190);
  Object.assign(hopper, { bubble: null, vx: 0, vy: 0, canBoost: true });
}

function fall() {
  const { hopper } = world;
  world.hearts -= 1;
  burst(hopper.x, world.camera + 10, 30, 350);
  if (world.hearts > 0) {
    const safe = world.planets.filter((each) => each.kind !== "crumbling" && !each.ground && each.y > world.camera + 60);
    hopper.bubble = safe.length ? safe[0] : world.planets[0];
    world.notes.push({ x: hopper.x, y: world.camera + 60, text: "Oops!", age: 0 });
  } else {
    world.mode = "over";
    world.time = 0;
    best = world.best = Math.max(best, world.score);
  }
}

function fit() {
  const ratio = Math.min(devicePixelRatio || 1, 1920 / innerWidth); // no more pixels than a screen without a graphics card can fill
  canvas.width = Math.round(innerWidth * ratio);
  canvas.height = Math.round(innerHeight * ratio);
}

let last = 0;
function frame(now) {
  const dt = Math.min(0.05, (now - last) / 1000 || 0);
  last = now;
  if (bug === "freeze" && world.mode === "playing" && now - world.began > FREEZE_AFTER_MS) return; // the bug: no next frame
  step(dt);
  if (bug !== "blank") drawScene(context, world, WIDTH, HEIGHT);
  requestAnimationFrame(frame);
}

const KEYS = {
  ArrowLeft: "left", KeyA: "left",
  ArrowRight: "right", KeyD: "right",
  ArrowUp: "boost", KeyW: "boost",
  ArrowDown: "dive", KeyS: "dive",
  Space: "boost",
  Enter: "start",
};

addEventListener("keydown", (event) => {
  const what = KEYS[event.code];
  if (!what) return;
  event.preventDefault();
  if (event.repeat) return;
  held.add(what);
  if (what === "boost" || (what === "start" && world.mode !== "playing")) press();
});
addEventListener("keyup", (event) => held.delete(KEYS[event.code]));
addEventListener("blur", () => held.clear());

function point(event) {
  const scale = Math.max(canvas.clientWidth / WIDTH, canvas.clientHeight / HEIGHT);
  pointer.x = WIDTH / 2 + world.sway + (event.clientX - canvas.clientWidth / 2) / scale;
}
canvas.addEventListener("pointerdown", (event) => {
  pointer.down = true;
  point(event);
  press();
});
canvas.addEventListener("pointermove", point);
addEventListener("pointerup", () => (pointer.down = false));
addEventListener("pointercancel", () => (pointer.down = false));
addEventListener("resize", fit);

fit();
requestAnimationFrame(frame);
