// The page of one head: style, sliders, photo, clip. Its state stands in the address's fragment,
// such as #wire&jawOpen=0.8&yaw=40, so that a view can be shared.

const STYLES = ["clay", "texture", "wire"];
const GROUPS = [
  ["Brows", /^brow/], ["Eyes", /^eye/], ["Cheeks and nose", /^(cheek|nose)/], ["Jaw", /^jaw/],
  ["Mouth", /^(mouth|tongue)/], ["What no shape holds", /^photo$/], ["Shapes", /./],
];
const DEGREES = Math.PI / 180;
const byId = (id) => document.getElementById(id);

function startViewer(scene) {
  document.title = scene.title;
  byId("title").textContent = scene.title;
  for (const note of scene.notes)
    byId("notes").querySelector("ul").appendChild(document.createElement("li")).textContent = note;
  let renderer;
  try {
    renderer = createRenderer(byId("canvas"), scene.lighting);
  } catch (error) {
    byId("bar").hidden = true;
    byId("message").hidden = false;
    byId("message").textContent =
      "This browser cannot draw in 3D (" + error.message + "). Turn on hardware acceleration in " +
      "its settings, or open the file in a current Firefox, Chrome, Edge or Safari.";
    return;
  }
  new Viewer(scene, renderer);
}

class Viewer {
  constructor(scene, renderer) {
    const read = bufferReader(scene);
    this.scene = scene;
    this.renderer = renderer;
    this.mesh = decodeMesh(scene.mesh, read);
    this.drawn = renderer.addMesh(this.mesh);
    const { targets, joints } = this.mesh;
    this.names = targets.map((target) => target.name);
    this.initial = targets.map((target) => target.weight);
    this.weights = this.initial.slice();
    this.rotations = joints.rotations.map((turn) => turn.slice());
    this.clip = scene.animation &&
      decodeAnimation(scene.animation, read, targets.length, joints.names.length);
    this.time = 0;
    this.playing = false;
    this.style = "clay";
    this.photo = false;
    this.orbit = frontOrbit();
    this.box = boundingBox(this.mesh.vertices);
    this.stale = true;
    this.scheduled = false;
    this.buildSwitches();
    this.buildSliders();
    this.buildPlayer();
    controlOrbit(byId("canvas"), this.orbit, () => this.changed());
    addEventListener("resize", () => this.redraw());
    addEventListener("hashchange", () => this.readFragment());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    this.loadPictures();
    this.readFragment();
  }

  loadPictures() {
    if (this.scene.texture) {
      const image = new Image();
      image.onload = () => { this.drawn.texture = this.renderer.addTexture(image); this.redraw(); };
      image.src = this.scene.texture;
    }
    if (this.scene.photo) byId("photo").src = this.scene.photo.image;
  }

  buildSwitches() {
    for (const style of STYLES.filter((name) => name !== "texture" || this.scene.texture)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = style[0].toUpperCase() + style.slice(1);
      button.dataset.style = style;
      button.setAttribute("role", "radio");
      button.onclick = () => { this.style = style; this.changed(); };
      byId("styles").appendChild(button);
    }
    byId("photo-switch").hidden = !this.scene.photo;
    byId("photo-switch").onclick = () => this.showPhoto(!this.photo);
    byId("opacity").oninput = () => this.changed();
    byId("front").onclick = () => { Object.assign(this.orbit, frontOrbit()); this.changed(); };
    byId("drawer-switch").onclick = () => this.openDrawer(byId("drawer").hidden);
    byId("drawer-switch").hidden = !this.names.length;
    byId("close").onclick = () => this.openDrawer(false);
  }

  showPhoto(shown) {
    this.photo = shown && Boolean(this.scene.photo);
    Object.assign(this.orbit, frontOrbit());
    this.stale = true;
    this.changed();
  }

  openDrawer(open) {
    byId("drawer").hidden = !open;
    byId("drawer-switch").setAttribute("aria-expanded", open);
    document.body.classList.toggle("drawer-open", open);
    this.changed();
  }

  buildSliders() {
    this.rows = [];
    const placed = new Set();
    for (const [title, pattern] of GROUPS) {
      const members = this.names.filter((name) => !placed.has(name) && pattern.test(name));
      if (!members.length) continue;
      const section = document.createElement("section");
      section.appendChild(document.createElement("h2")).textContent = title;
      for (const name of members) {
        placed.add(name);
        section.appendChild(this.buildSlider(name));
      }
      byId("sliders").appendChild(section);
    }
    byId("filter").oninput = () => {
      const wanted = byId("filter").value.trim().toLowerCase();
      for (const row of this.rows) row.label.hidden = !row.name.toLowerCase().includes(wanted);
      for (const section of byId("sliders").children)
        section.hidden = !section.querySelector("label:not([hidden])");
    };
    byId("reset").onclick = () => this.setWeights(this.initial);
    byId("reset").hidden = !this.initial.some((weight) => weight !== 0);
    byId("neutral").onclick = () => this.setWeights(this.initial.map(() => 0));
  }

  buildSlider(name) {
    const index = this.names.indexOf(name);
    const label = document.createElement("label");
    label.className = "slider";
    const text = label.appendChild(document.createElement("span"));
    text.textContent = text.title = name;
    const input = label.appendChild(document.createElement("input"));
    const initial = this.initial[index];
    Object.assign(input, {
      type: "range", min: Math.min(0, initial), max: Math.max(1, initial), step: "any",
    });
    const output = label.appendChild(document.createElement("output"));
    const twin = this.names.indexOf(
      /Left$/.test(name) ? name.replace(/Left$/, "Right") : name.replace(/Right$/, "Left"));
    input.oninput = () => {
      this.pause();
      this.weights[index] = Number(input.value);
      if (byId("mirror").checked && twin >= 0) this.weights[twin] = Number(input.value);
      this.moved();
    };
    input.ondblclick = () => { this.weights[index] = initial; this.moved(); };
    let before = null; // a finger that scrolls the list may begin on a slider
    input.onpointerdown = () => { before = this.weights.slice(); };
    input.onpointercancel = () => { if (before) this.setWeights(before); };
    this.rows[index] = { name, label, input, output };
    return label;
  }

  setWeights(weights) {
    this.pause();
    this.weights = Array.from(weights);
    this.moved();
  }

  moved() {
    this.stale = true;
    this.changed();
  }

  buildPlayer() {
    if (!this.clip) return;
    byId("player").hidden = false;
    byId("time").max = this.clip.end;
    byId("time").oninput = () => { this.pause(); this.seek(Number(byId("time").value)); };
    byId("play").onclick = () => (this.playing ? this.pause() : this.play());
    addEventListener("keydown", (event) => {
      if (event.key !== " " || /^(INPUT|BUTTON|SUMMARY)$/.test(event.target.tagName)) return;
      event.preventDefault();
      byId("play").click();
    });
    this.seek(0);
  }

  play() {
    this.playing = true;
    if (this.time >= this.clip.end) this.time = 0;
    let before = null;
    const step = (now) => {
      if (!this.playing) return;
      if (before !== null) this.time += (now - before) / 1000;
      before = now;
      if (this.time > this.clip.end) this.time = 0; // again from the start
      this.seek(this.time);
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  pause() {
    this.playing = false;
    if (this.clip) this.redraw();
  }

  seek(time) {
    this.time = Math.min(Math.max(time, 0), this.clip.end);
    const state = this.clip.at(this.time);
    this.weights = Array.from(state.weights);
    this.rotations = state.rotations;
    this.stale = true;
    this.playing ? this.redraw() : this.changed();
  }

  changed() {
    this.redraw();
    clearTimeout(this.writing);
    this.writing = setTimeout(() => this.writeFragment(), 250);
  }

  redraw() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => { this.scheduled = false; this.draw(); });
  }

  // The part of the window that panels leave free [px].
  freeArea() {
    const drawer = byId("drawer"), width = innerWidth, height = innerHeight;
    const narrow = matchMedia("(max-width: 720px)").matches;
    const open = !drawer.hidden;
    const side = open && !narrow ? drawer.offsetWidth : 0;
    document.documentElement.style.setProperty("--side", side + "px");
    const below = open && narrow ? drawer.offsetHeight : byId("bar").offsetHeight + 22;
    const above = narrow ? 40 : 14;
    return { x: 0, y: above, width: width - side, height: Math.max(height - below - above, 50) };
  }

  draw() {
    const area = this.freeArea();
    this.showState();
    if (this.stale) {
      const rest = this.mesh.joints.rotations.map(() => [0, 0, 0]);
      const posed = this.photo ? this.scene.photo.rotations : this.clip ? this.rotations
        : this.mesh.joints.rotations;
      this.drawn.update(deform(this.mesh, this.weights, posed || rest));
      this.stale = false;
    }
    const camera = this.photo
      ? photoCamera(this.scene.photo, this.box, this.orbit, area)
      : portraitCamera(this.box, this.orbit, area, 0.94);
    const image = byId("photo");
    image.hidden = !this.photo;
    if (this.photo)
      for (const [key, value] of Object.entries(camera.rectangle)) image.style[key] = value + "px";
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const wire = this.style === "wire";
    this.renderer.clear();
    this.renderer.draw(this.drawn, camera, {
      style: this.style,
      shade: this.photo ? 0 : this.scene.lighting.texture_shade,
      opacity: this.photo ? Number(byId("opacity").value) : 1,
      faceOnly: this.photo,
      photoLight: this.photo && this.mesh.light,
      lineColour: this.photo || dark ? [0.92, 0.95, 1] : [0.1, 0.16, 0.28],
      lineOpacity: this.photo ? 0.5 * Number(byId("opacity").value) : wire && dark ? 0.42 : 0.55,
    });
  }

  showState() {
    for (const button of byId("styles").children)
      button.setAttribute("aria-checked", button.dataset.style === this.style);
    byId("photo-switch").setAttribute("aria-pressed", this.photo);
    byId("opacity-label").hidden = !this.photo;
    if (this.clip) {
      byId("play").setAttribute("aria-pressed", this.playing);
      byId("time").value = this.time;
      byId("clock").textContent = `${this.time.toFixed(1)} / ${this.clip.end.toFixed(1)} s`;
    }
    if (byId("drawer").hidden) return;
    this.rows.forEach((row, index) => {
      const weight = this.weights[index];
      row.input.value = weight;
      row.output.textContent = weight.toFixed(2);
      row.label.classList.toggle("moved", Math.abs(weight - this.initial[index]) > 1e-6);
    });
  }

  writeFragment() {
    if (this.playing) return;
    const words = [this.style];
    if (this.photo) words.push("photo");
    if (!byId("drawer").hidden) words.push("shapes");
    const round = (value, digits) => Number(value.toFixed(digits));
    if (this.clip && this.time) words.push(`time=${round(this.time, 3)}`);
    this.names.forEach((name, index) => {
      const from = this.clip ? this.clip.at(this.time).weights[index] : this.initial[index];
      if (Math.abs(this.weights[index] - from) > 1e-6)
        words.push(`${encodeURIComponent(name)}=${round(this.weights[index], 3)}`);
    });
    const { yaw, pitch, zoom, pan } = this.orbit;
    if (Math.abs(yaw) > 1e-3) words.push(`yaw=${round(yaw / DEGREES, 1)}`);
    if (Math.abs(pitch) > 1e-3) words.push(`pitch=${round(pitch / DEGREES, 1)}`);
    if (Math.abs(zoom - 1) > 1e-3) words.push(`zoom=${round(zoom, 3)}`);
    if (pan.some((value) => Math.abs(value) > 1e-3))
      words.push(`x=${round(pan[0], 3)}`, `y=${round(pan[1], 3)}`);
    if (this.photo) words.push(`opacity=${round(Number(byId("opacity").value), 2)}`);
    try {
      history.replaceState(null, "", "#" + words.join("&"));
    } catch (error) {
      console.info("the address keeps no state here:", error.message);
    }
  }

  readFragment() {
    const words = location.hash.slice(1).split("&").filter(Boolean);
    const switches = new Set(words.filter((word) => !word.includes("=")));
    const values = new Map(words.filter((word) => word.includes("=")).map((word) => {
      const [key, value] = word.split("=");
      return [decodeURIComponent(key), Number(value)];
    }));
    const number = (key, otherwise) => (Number.isFinite(values.get(key)) ? values.get(key) : otherwise);
    const style = STYLES.find((name) => switches.has(name));
    this.style = style && (style !== "texture" || this.scene.texture) ? style
      : this.scene.texture && !words.length ? "texture" : "clay";
    this.photo = switches.has("photo") && Boolean(this.scene.photo);
    this.weights = this.initial.slice();
    if (this.clip) this.seek(number("time", 0));
    this.names.forEach((name, index) => { this.weights[index] = number(name, this.weights[index]); });
    Object.assign(this.orbit, frontOrbit(), {
      yaw: number("yaw", 0) * DEGREES, pitch: number("pitch", 0) * DEGREES,
      zoom: Math.min(Math.max(number("zoom", 1), 0.3), 12), pan: [number("x", 0), number("y", 0)],
    });
    byId("opacity").value = number("opacity", 0.75);
    byId("drawer").hidden = !switches.has("shapes");
    byId("drawer-switch").setAttribute("aria-expanded", switches.has("shapes"));
    document.body.classList.toggle("drawer-open", switches.has("shapes"));
    this.stale = true;
    this.redraw();
  }
}

startViewer(JSON.parse(byId("scene").textContent));
