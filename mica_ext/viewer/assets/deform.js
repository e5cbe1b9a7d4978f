// Morph targets, then joints (linear blend skinning), as in the GLB of the same face.

// Axis-angle [rad] to a row-major 3 x 3 matrix.
function rotationMatrix([x, y, z]) {
  const angle = Math.hypot(x, y, z);
  if (angle < 1e-9) return [1, 0, 0, 0, 1, 0, 0, 0, 1];
  const [u, v, w] = [x / angle, y / angle, z / angle];
  const c = Math.cos(angle), s = Math.sin(angle), t = 1 - c;
  return [
    t * u * u + c, t * u * v - s * w, t * u * w + s * v,
    t * u * v + s * w, t * v * v + c, t * v * w - s * u,
    t * u * w - s * v, t * v * w + s * u, t * w * w + c,
  ];
}

function multiply(a, b) {
  const product = new Array(9).fill(0);
  for (let r = 0; r < 3; r++)
    for (let c = 0; c < 3; c++)
      for (let k = 0; k < 3; k++) product[3 * r + c] += a[3 * r + k] * b[3 * k + c];
  return product;
}

function transform(matrix, [x, y, z]) {
  return [0, 3, 6].map((r) => matrix[r] * x + matrix[r + 1] * y + matrix[r + 2] * z);
}

// Positions [m] of the mesh's V vertices for target weights and joint rotations (axis-angle).
function deform(mesh, weights, rotations) {
  const points = Float32Array.from(mesh.vertices);
  mesh.targets.forEach((target, k) => {
    const factor = weights[k] * target.scale;
    if (factor === 0) return;
    const { ids, offsets } = target;
    for (let i = 0; i < ids.length; i++) {
      const v = 3 * ids[i];
      points[v] += factor * offsets[3 * i];
      points[v + 1] += factor * offsets[3 * i + 1];
      points[v + 2] += factor * offsets[3 * i + 2];
    }
  });
  if (mesh.joints && rotations && rotations.some((turn) => Math.hypot(...turn) > 1e-9))
    skin(points, mesh.joints, rotations);
  return points;
}

function skin(points, joints, rotations) {
  const count = joints.parents.length;
  const linear = [], shift = [];
  for (let j = 0; j < count; j++) {
    const turn = rotationMatrix(rotations[j]), pivot = joints.positions[j];
    const turned = transform(turn, pivot);
    const local = pivot.map((value, axis) => value - turned[axis]);
    const parent = joints.parents[j];
    linear[j] = parent < 0 ? turn : multiply(linear[parent], turn);
    shift[j] = parent < 0 ? local
      : transform(linear[parent], local).map((value, axis) => value + shift[parent][axis]);
  }
  const total = points.length / 3, matrix = new Float64Array(12);
  for (let v = 0; v < total; v++) {
    matrix.fill(0);
    for (let j = 0; j < count; j++) {
      const share = joints.weights[v * count + j] / 65535;
      if (share === 0) continue;
      for (let k = 0; k < 9; k++) matrix[k] += share * linear[j][k];
      for (let k = 0; k < 3; k++) matrix[9 + k] += share * shift[j][k];
    }
    const x = points[3 * v], y = points[3 * v + 1], z = points[3 * v + 2];
    for (let r = 0; r < 3; r++)
      points[3 * v + r] =
        matrix[3 * r] * x + matrix[3 * r + 1] * y + matrix[3 * r + 2] * z + matrix[9 + r];
  }
}

// Area-weighted unit normals of the V vertices.
function vertexNormals(points, corners) {
  const normals = new Float32Array(points.length);
  for (let i = 0; i < corners.length; i += 3) {
    const a = 3 * corners[i], b = 3 * corners[i + 1], c = 3 * corners[i + 2];
    const ux = points[b] - points[a], uy = points[b + 1] - points[a + 1];
    const uz = points[b + 2] - points[a + 2], vx = points[c] - points[a];
    const vy = points[c + 1] - points[a + 1], vz = points[c + 2] - points[a + 2];
    const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
    for (const at of [a, b, c]) {
      normals[at] += x; normals[at + 1] += y; normals[at + 2] += z;
    }
  }
  for (let i = 0; i < normals.length; i += 3) {
    const length = Math.hypot(normals[i], normals[i + 1], normals[i + 2]) || 1;
    normals[i] /= length; normals[i + 1] /= length; normals[i + 2] /= length;
  }
  return normals;
}

// Rows of `values` (3 a vertex) for the drawn vertices, which are split at texture seams.
function gather(values, source) {
  const rows = new Float32Array(3 * source.length);
  for (let i = 0; i < source.length; i++) {
    const v = 3 * source[i];
    rows[3 * i] = values[v]; rows[3 * i + 1] = values[v + 1]; rows[3 * i + 2] = values[v + 2];
  }
  return rows;
}

function boundingBox(points) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (let i = 0; i < points.length; i++) {
    low[i % 3] = Math.min(low[i % 3], points[i]);
    high[i % 3] = Math.max(high[i % 3], points[i]);
  }
  return { low, high, centre: low.map((value, axis) => (value + high[axis]) / 2) };
}
