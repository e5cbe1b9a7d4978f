// Buffers of a page's scene as typed arrays. The format is described in mica_ext/viewer/scene.py.

const ARRAY_TYPES = {
  float32: Float32Array, int16: Int16Array, uint8: Uint8Array, uint16: Uint16Array,
  uint32: Uint32Array,
};

// {type, data} with little-endian base64 `data` to a typed array.
function decodeBuffer(buffer) {
  const text = atob(buffer.data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new ARRAY_TYPES[buffer.type](bytes.buffer);
}

// The scene's buffers, each decoded once when it is first asked for.
function bufferReader(scene) {
  const decoded = new Map();
  return (index) => {
    if (index === null || index === undefined) return null;
    if (!decoded.has(index)) decoded.set(index, decodeBuffer(scene.buffers[index]));
    return decoded.get(index);
  };
}

// A mesh entry of the scene with arrays in place of buffer numbers.
function decodeMesh(entry, read) {
  const colours = read(entry.colours);
  return {
    vertices: read(entry.vertices),
    source: read(entry.source),
    triangles: read(entry.triangles),
    uv: read(entry.uv),
    colours,
    face: read(entry.face),
    light: read(entry.light),
    targets: (entry.targets || []).map((target) => ({
      name: target.name, weight: target.weight, scale: target.scale,
      ids: read(target.ids), offsets: read(target.offsets),
    })),
    joints: entry.joints && {
      names: entry.joints.names, parents: entry.joints.parents,
      positions: entry.joints.positions, weights: read(entry.joints.weights),
      rotations: entry.joints.rotations,
    },
  };
}

// Times [s], and the state at a time: the frames beside it, mixed linearly.
function decodeAnimation(entry, read, targets, joints) {
  const times = read(entry.times), weights = read(entry.weights), turns = read(entry.rotations);
  const end = times.length ? times[times.length - 1] : 0;
  return {
    end,
    at(time) {
      let low = 0, high = times.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (times[middle] <= time) low = middle; else high = middle - 1;
      }
      const next = Math.min(low + 1, times.length - 1);
      const gap = times[next] - times[low];
      const share = gap > 0 ? Math.min(Math.max((time - times[low]) / gap, 0), 1) : 0;
      const mix = (array, width, scale) => {
        const values = new Float32Array(width);
        for (let i = 0; i < width; i++) {
          const a = array[low * width + i], b = array[next * width + i];
          values[i] = (a + (b - a) * share) * scale;
        }
        return values;
      };
      const rotations = [];
      const vectors = mix(turns, 3 * joints, entry.rotation_scale);
      for (let j = 0; j < joints; j++) rotations.push(Array.from(vectors.slice(3 * j, 3 * j + 3)));
      return { weights: mix(weights, targets, entry.weight_scale), rotations };
    },
  };
}
