// Cameras: pinhole, x right, y up, looking along -z; pixels with y down, as in models/projection.py.

const DISTANCE = 1.6; // [m], as render.views.PORTRAIT_DISTANCE
const NEAREST = 0.05, HALF_DEPTH = 0.4; // [m] what is drawn lies so far around the head's centre

// The head turned by `orbit` about its centre, in the rectangle `area` {x, y, width, height} [px].
function portraitCamera(box, orbit, area, fill) {
  const size = box.high.map((value, axis) => value - box.low[axis]);
  const depth = DISTANCE - size[2] / 2;
  const across = Math.max(size[0], 0.82 * Math.hypot(size[0], size[2])); // also when turned
  const focal = fill * depth * Math.min(area.height / size[1], area.width / across) * orbit.zoom;
  return {
    focal, rotation: orbitMatrix(orbit), pivot: box.centre, offset: [0, 0, -DISTANCE],
    centre: [
      area.x + area.width / 2 + orbit.pan[0] * area.height,
      area.y + area.height / 2 + orbit.pan[1] * area.height,
    ],
  };
}

// The photo's own camera, where the photo fills `area` as far as its shape allows.
function photoCamera(photo, box, orbit, area) {
  const [width, height] = photo.size;
  const scale = Math.min(area.width / width, area.height / height) * orbit.zoom;
  const left = area.x + (area.width - width * scale) / 2 + orbit.pan[0] * area.height;
  const top = area.y + (area.height - height * scale) / 2 + orbit.pan[1] * area.height;
  return {
    focal: photo.focal_px * scale, rotation: orbitMatrix(orbit), pivot: box.centre,
    offset: box.centre.map((value, axis) => value + photo.translation[axis]),
    centre: photo.centre_px.map((value, axis) => [left, top][axis] + (value + 0.5) * scale),
    rectangle: { left, top, width: width * scale, height: height * scale },
  };
}

function orbitMatrix({ yaw, pitch }) {
  return multiply(rotationMatrix([pitch, 0, 0]), rotationMatrix([0, yaw, 0]));
}

// Column-major clip matrix of camera points for a picture of width x height pixels.
function clipMatrix(camera, width, height) {
  const { focal, centre } = camera;
  const near = Math.max(NEAREST, -camera.offset[2] - HALF_DEPTH);
  const far = Math.max(-camera.offset[2], NEAREST) + HALF_DEPTH;
  const range = far - near;
  return new Float32Array([
    (2 * focal) / width, 0, 0, 0,
    0, (2 * focal) / height, 0, 0,
    1 - (2 * centre[0]) / width, (2 * centre[1]) / height - 1, -(far + near) / range, -1,
    0, 0, (-2 * far * near) / range, 0,
  ]);
}

function frontOrbit() {
  return { yaw: 0, pitch: 0, zoom: 1, pan: [0, 0] };
}

// Mouse and touch: drag turns, wheel or pinch zooms, right button or two fingers move,
// double click or double tap faces the front. `changed` is called after each change of `orbit`.
// wheelNeedsKey: the wheel zooms with Ctrl only, else it scrolls the page.
function controlOrbit(element, orbit, changed, { wheelNeedsKey = false } = {}) {
  const pointers = new Map();
  let lastTap = 0, moved = 0;
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const zoomBy = (factor) => { orbit.zoom = clamp(orbit.zoom * factor, 0.3, 12); };
  const front = () => { Object.assign(orbit, frontOrbit()); changed(); };
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, length: Math.hypot(a.x - b.x, a.y - b.y) };
  };
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    moved = 0;
  });
  element.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const dx = event.clientX - before.x, dy = event.clientY - before.y;
    moved += Math.abs(dx) + Math.abs(dy);
    const height = element.clientHeight || 1;
    if (pointers.size === 2) {
      const old = spread();
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const now = spread();
      if (old.length > 0) zoomBy(now.length / old.length);
      orbit.pan[0] += (now.x - old.x) / height;
      orbit.pan[1] += (now.y - old.y) / height;
    } else {
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (event.buttons & 2 || event.shiftKey) {
        orbit.pan[0] += dx / height;
        orbit.pan[1] += dy / height;
      } else {
        orbit.yaw += (dx / height) * 4;
        orbit.pitch = clamp(orbit.pitch + (dy / height) * 4, -1.5, 1.5);
      }
    }
    changed();
  });
  const release = (event) => {
    const wasTouch = event.pointerType === "touch" && pointers.size === 1 && moved < 10;
    pointers.delete(event.pointerId);
    if (!wasTouch) return;
    if (event.timeStamp - lastTap < 320) front();
    lastTap = event.timeStamp;
  };
  element.addEventListener("pointerup", release);
  element.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  element.addEventListener("dblclick", front);
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener("wheel", (event) => {
    if (wheelNeedsKey && !event.ctrlKey) return;
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)));
    changed();
  }, { passive: false });
  element.addEventListener("keydown", (event) => {
    const step = 0.09;
    const keys = {
      ArrowLeft: () => { orbit.yaw -= step; }, ArrowRight: () => { orbit.yaw += step; },
      ArrowUp: () => { orbit.pitch = clamp(orbit.pitch - step, -1.5, 1.5); },
      ArrowDown: () => { orbit.pitch = clamp(orbit.pitch + step, -1.5, 1.5); },
      "+": () => zoomBy(1.1), "-": () => zoomBy(1 / 1.1),
      Home: () => Object.assign(orbit, frontOrbit()),
    };
    if (!keys[event.key]) return;
    keys[event.key]();
    event.preventDefault();
    changed();
  });
}
