// The page of a comparison: a grid of heads that turn together, drawn by one canvas over it.

function startFigure(scene) {
  byId("title").textContent = scene.title;
  byId("note").textContent = scene.note + " Drag a head to turn all; double click: front.";
  let renderer;
  try {
    renderer = createRenderer(byId("canvas"), scene.lighting);
  } catch (error) {
    byId("message").hidden = false;
    byId("message").textContent =
      "This browser cannot draw in 3D (" + error.message + "). Turn on hardware acceleration in " +
      "its settings, or open the file in a current Firefox, Chrome, Edge or Safari.";
    return;
  }
  const read = bufferReader(scene), grid = byId("grid"), shown = [];
  const orbit = Object.assign(frontOrbit(), { yaw: 0.3 });
  const given = new URLSearchParams(location.hash.slice(1));
  for (const key of ["yaw", "pitch"])
    if (given.has(key)) orbit[key] = (Number(given.get(key)) * Math.PI) / 180 || 0;
  let scheduled = false;
  const redraw = () => {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => { scheduled = false; draw(); });
  };
  grid.style.setProperty("--columns", scene.titles.length);
  grid.style.gridTemplateColumns = `repeat(${scene.titles.length}, max-content)`;
  for (const title of scene.titles)
    grid.appendChild(document.createElement("h2")).textContent = title;
  for (const row of scene.rows) {
    const photo = grid.appendChild(document.createElement("figure"));
    const image = photo.appendChild(document.createElement("img"));
    image.src = row.photo;
    image.alt = row.name;
    const box = { ...row.box, centre: row.box.low.map((v, k) => (v + row.box.high[k]) / 2) };
    for (const cell of row.cells) {
      const figure = grid.appendChild(document.createElement("figure"));
      const place = figure.appendChild(document.createElement("div"));
      place.className = "cell";
      if (cell.caption)
        figure.appendChild(document.createElement("figcaption")).textContent = cell.caption;
      if (!cell.mesh) { place.textContent = "no mesh"; continue; }
      const mesh = decodeMesh(cell.mesh, read), drawn = renderer.addMesh(mesh);
      drawn.update(mesh.vertices);
      shown.push({ place, drawn, box });
      controlOrbit(place, orbit, redraw, { wheelNeedsKey: true });
    }
  }
  function draw() {
    renderer.clear();
    for (const { place, drawn, box } of shown) {
      const area = place.getBoundingClientRect();
      if (area.bottom < 0 || area.top > innerHeight || area.right < 0 || area.left > innerWidth)
        continue;
      const cell = { x: 0, y: 0, width: area.width, height: area.height };
      const look = { style: "clay", shade: 0, opacity: 1, faceOnly: false };
      renderer.draw(drawn, portraitCamera(box, orbit, cell, 1.1), look, area);
    }
  }
  addEventListener("resize", redraw);
  addEventListener("scroll", redraw, { passive: true });
  redraw();
}

const byId = (id) => document.getElementById(id);
startFigure(JSON.parse(byId("scene").textContent));
