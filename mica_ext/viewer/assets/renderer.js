// A small WebGL 2 renderer for head meshes: clay, texture or edges, over a transparent ground.

const VERTEX_SHADER = `#version 300 es
in vec3 position; in vec3 normal; in vec3 colour; in vec2 uv; in float face, light;
uniform mat4 clip; uniform mat3 rotation; uniform vec3 pivot, offset;
uniform float lift; // towards the eye, as a share of the distance: edges lie before the surface
centroid out vec3 vPoint, vNormal, vColour; centroid out vec2 vUv; out float vFace, vLight;
vec3 toLinear(vec3 c) {
  return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), step(0.04045, c));
}
void main() {
  vPoint = rotation * (position - pivot) + offset;
  vNormal = rotation * normal;
  vColour = toLinear(colour);
  vUv = uv;
  vFace = face;
  vLight = light * light * 4.0;
  gl_Position = clip * vec4(vPoint * (1.0 - lift), 1.0);
}`;

const FRAGMENT_SHADER = `#version 300 es
precision highp float;
centroid in vec3 vPoint, vNormal, vColour; centroid in vec2 vUv; in float vFace, vLight;
uniform sampler2D picture;
uniform int style; // 0 clay, 1 texture, 2 edges
uniform float shade, opacity, faceOnly, photoLight;
uniform vec3 lineColour;
uniform vec3 directions[3], intensities[3], sky, ground, wrap;
uniform float specular, inner;
out vec4 result;
vec3 toLinear(vec3 c) {
  return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), step(0.04045, c));
}
vec3 fromLinear(vec3 c) {
  c = clamp(c, 0.0, 1.0);
  return mix(c * 12.92, 1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c));
}
vec3 lightOn(vec3 n) {
  vec3 light = mix(ground, sky, 0.5 + 0.5 * n.y);
  for (int i = 0; i < 3; i++)
    light += intensities[i] * max((dot(n, directions[i]) + wrap) / (1.0 + wrap), 0.0);
  return light;
}
void main() {
  float alpha = opacity * mix(1.0, vFace, faceOnly);
  if (alpha <= 0.004) discard;
  if (style == 2) { result = vec4(lineColour * alpha, alpha); return; }
  vec3 n = normalize(vNormal);
  vec3 toEye = normalize(-vPoint);
  float side = 1.0;
  if (!gl_FrontFacing && dot(n, toEye) < -0.2) { n = -n; side = inner; } // not at the outline
  vec3 light = lightOn(n);
  vec3 colour;
  if (style == 1) {
    float typical = dot(lightOn(vec3(0.0, 0.0, 1.0)), vec3(0.2126, 0.7152, 0.0722));
    float factor = 1.0 + shade * (dot(light, vec3(0.2126, 0.7152, 0.0722)) / typical - 1.0);
    colour = toLinear(texture(picture, vUv).rgb) * factor * side * mix(1.0, vLight, photoLight);
  } else {
    float gloss = 0.0;
    for (int i = 0; i < 3; i++)
      gloss += intensities[i].g * pow(max(dot(n, normalize(directions[i] + toEye)), 0.0), 32.0);
    colour = side * (vColour * light + specular * gloss);
  }
  result = vec4(fromLinear(colour) * alpha, alpha);
}`;

const EDGE_LIFT = 6e-4;
const ATTRIBUTES = [["position", 3], ["normal", 3], ["colour", 3], ["uv", 2], ["face", 1], ["light", 1]];

// Throws an Error with a line for people where the browser cannot draw.
function createRenderer(canvas, lighting) {
  const gl = canvas.getContext("webgl2", {
    alpha: true, antialias: true, premultipliedAlpha: true, preserveDrawingBuffer: true,
  });
  if (!gl) throw new Error("no WebGL 2");
  const program = linkProgram(gl);
  const places = new Map();
  const uniform = (name) => {
    if (!places.has(name)) places.set(name, gl.getUniformLocation(program, name));
    return places.get(name);
  };
  gl.useProgram(program);
  const unit = (v) => v.map((value) => value / Math.hypot(...v));
  gl.uniform3fv(uniform("directions"), lighting.directions.map(unit).flat());
  gl.uniform3fv(uniform("intensities"), lighting.intensities.flat());
  for (const name of ["sky", "ground", "wrap"]) gl.uniform3fv(uniform(name), lighting[name]);
  gl.uniform1f(uniform("specular"), lighting.specular);
  gl.uniform1f(uniform("inner"), lighting.inner);
  const blank = createTexture(gl, null);

  return {
    gl,
    // Uploads a mesh of decodeMesh; `update` gives it new vertex positions.
    addMesh(mesh) {
      const array = gl.createVertexArray();
      gl.bindVertexArray(array);
      const buffers = {};
      for (const [name, width] of ATTRIBUTES) {
        const place = gl.getAttribLocation(program, name);
        buffers[name] = gl.createBuffer();
        if (place < 0) continue;
        gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
        gl.enableVertexAttribArray(place);
        const bytes = ["colour", "face", "light"].includes(name);
        gl.vertexAttribPointer(place, width, bytes ? gl.UNSIGNED_BYTE : gl.FLOAT, bytes, 0, 0);
      }
      const { source, triangles } = mesh;
      const corners = triangles.map((corner) => source[corner]);
      const fill = (name, values, usage) => {
        gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
        gl.bufferData(gl.ARRAY_BUFFER, values, usage);
      };
      const bytes = (values, width) => {
        const rows = new Uint8Array(width * source.length).fill(255);
        if (values)
          source.forEach((v, i) => {
            for (let k = 0; k < width; k++) rows[width * i + k] = values[width * v + k];
          });
        return rows;
      };
      fill("colour", bytes(mesh.colours, 3), gl.STATIC_DRAW);
      fill("face", bytes(mesh.face, 1), gl.STATIC_DRAW);
      fill("light", bytes(mesh.light, 1), gl.STATIC_DRAW);
      fill("uv", mesh.uv || new Float32Array(2 * source.length), gl.STATIC_DRAW);
      const filled = gl.createBuffer(), lines = gl.createBuffer();
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, filled);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, triangles, gl.STATIC_DRAW);
      const edges = edgesOf(triangles, corners);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, lines);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, edges, gl.STATIC_DRAW);
      return {
        array, filled, lines, count: triangles.length, edges: edges.length, texture: blank,
        update(points) {
          fill("position", gather(points, source), gl.DYNAMIC_DRAW);
          fill("normal", gather(vertexNormals(points, corners), source), gl.DYNAMIC_DRAW);
        },
        setColours(values) { fill("colour", bytes(values, 3), gl.STATIC_DRAW); },
      };
    },
    addTexture(image) { return createTexture(gl, image); },
    // Fits the drawing buffer to the canvas, and clears it.
    clear() {
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
      const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
      if (canvas.width !== width || canvas.height !== height) {
        canvas.width = width; canvas.height = height;
      }
      gl.viewport(0, 0, width, height);
      gl.disable(gl.SCISSOR_TEST);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    },
    // Draws into the canvas, or into `area` of it {x, y, width, height} in CSS pixels, y down.
    // look: {style: clay | texture | wire, shade, opacity, faceOnly, photoLight, lineColour}.
    draw(mesh, camera, look, area) {
      const ratio = canvas.width / Math.max(canvas.clientWidth, 1);
      const { width, height } = area || { width: canvas.clientWidth, height: canvas.clientHeight };
      if (area) {
        const bottom = canvas.height - (area.y + height) * ratio;
        const box = [area.x * ratio, bottom, width * ratio, height * ratio].map(Math.round);
        gl.viewport(...box);
        gl.scissor(...box);
        gl.enable(gl.SCISSOR_TEST);
      }
      gl.useProgram(program);
      gl.bindVertexArray(mesh.array);
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, mesh.texture);
      gl.uniform1i(uniform("picture"), 0);
      gl.uniformMatrix4fv(uniform("clip"), false, clipMatrix(camera, width, height));
      gl.uniformMatrix3fv(uniform("rotation"), true, camera.rotation);
      gl.uniform3fv(uniform("pivot"), camera.pivot);
      gl.uniform3fv(uniform("offset"), camera.offset);
      gl.uniform1f(uniform("faceOnly"), look.faceOnly ? 1 : 0);
      gl.uniform1f(uniform("shade"), look.shade);
      gl.uniform1f(uniform("photoLight"), look.photoLight ? 1 : 0);
      gl.enable(gl.DEPTH_TEST);
      gl.depthFunc(gl.LEQUAL);
      // depths of surfaces seen edge on are coarse: without this, specks of the mouth show through
      gl.enable(gl.POLYGON_OFFSET_FILL);
      gl.polygonOffset(1, 0);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.uniform1f(uniform("lift"), 0);
      const triangles = (style, opacity) => {
        gl.uniform1i(uniform("style"), style);
        gl.uniform1f(uniform("opacity"), opacity);
        gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, mesh.filled);
        gl.drawElements(gl.TRIANGLES, mesh.count, gl.UNSIGNED_INT, 0);
      };
      gl.colorMask(false, false, false, false); // the nearest surface only, however transparent
      triangles(0, 1);
      gl.colorMask(true, true, true, true);
      if (look.style !== "wire") {
        triangles(look.style === "texture" ? 1 : 0, look.opacity);
      } else {
        if (!look.faceOnly) triangles(0, look.opacity);
        gl.uniform1i(uniform("style"), 2);
        gl.uniform1f(uniform("lift"), EDGE_LIFT);
        gl.uniform1f(uniform("opacity"), look.lineOpacity);
        gl.uniform3fv(uniform("lineColour"), look.lineColour);
        gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, mesh.lines);
        gl.drawElements(gl.LINES, mesh.edges, gl.UNSIGNED_INT, 0);
      }
      gl.bindVertexArray(null);
    },
  };
}

function linkProgram(gl) {
  const program = gl.createProgram();
  for (const [kind, text] of [
    [gl.VERTEX_SHADER, VERTEX_SHADER], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost())
      throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost())
    throw new Error(gl.getProgramInfoLog(program));
  return program;
}

function createTexture(gl, image) {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  if (!image) {
    const grey = new Uint8Array([190, 190, 190, 255]);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, grey);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    return texture;
  }
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
  gl.generateMipmap(gl.TEXTURE_2D);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  const anisotropy = gl.getExtension("EXT_texture_filter_anisotropic");
  if (anisotropy) gl.texParameterf(gl.TEXTURE_2D, anisotropy.TEXTURE_MAX_ANISOTROPY_EXT, 4);
  return texture;
}

// Every edge once, as pairs of drawn vertices; edges along texture seams are one edge.
function edgesOf(triangles, corners) {
  const met = new Set(), pairs = [];
  for (let i = 0; i < triangles.length; i += 3)
    for (let k = 0; k < 3; k++) {
      const a = i + k, b = i + ((k + 1) % 3);
      const low = Math.min(corners[a], corners[b]), high = Math.max(corners[a], corners[b]);
      const key = low * 4294967296 + high;
      if (met.has(key)) continue;
      met.add(key);
      pairs.push(triangles[a], triangles[b]);
    }
  return Uint32Array.from(pairs);
}
