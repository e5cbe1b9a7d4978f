"""An animated GLB played by its own numbers: morph targets, then linear blend skinning."""

from pathlib import Path

import numpy as np
import pygltflib
from scipy.spatial.transform import Rotation

TYPES = {5126: "<f4", 5125: "<u4", 5121: "u1"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class AnimatedGlb:
    """One mesh with a skin and one animation."""

    def __init__(self, path: Path) -> None:
        self.file = pygltflib.GLTF2().load(str(path))
        (self.animation,) = self.file.animations
        self.primitive = self.file.meshes[0].primitives[0]
        self.rest = self.array(self.primitive.attributes.POSITION)
        self.targets = [self.array(target["POSITION"]) for target in self.primitive.targets]
        self.times_s = self.array(self.animation.samplers[0].input)[:, 0]
        self.skin = self.file.skins[0]

    def array(self, index: int) -> np.ndarray:
        """Accessor `index`, sparse or not."""
        accessor = self.file.accessors[index]
        width = WIDTHS[accessor.type]
        if accessor.sparse is None:
            return self._read(accessor.bufferView, accessor.componentType, accessor.count, width)
        sparse, values = accessor.sparse, np.zeros((accessor.count, width))
        rows = self._read(sparse.indices.bufferView, sparse.indices.componentType, sparse.count, 1)
        values[rows[:, 0]] = self._read(sparse.values.bufferView, 5126, sparse.count, width)
        return values

    def vertices(self, key: int) -> np.ndarray:
        """The mesh at key frame `key`."""
        nodes = {k: (node.translation, node.rotation) for k, node in enumerate(self.file.nodes)}
        weights = np.zeros(len(self.targets))
        for channel in self.animation.channels:
            sampler = self.animation.samplers[channel.sampler]
            output, node = self.array(sampler.output), channel.target.node
            translation, rotation = nodes[node]
            if channel.target.path == "weights":
                weights = output.reshape(len(self.times_s), -1)[key]
            elif channel.target.path == "rotation":
                nodes[node] = translation, output[key]
            else:
                nodes[node] = output[key], rotation
        morphed = self.rest + np.einsum("t,tvx->vx", weights, np.stack(self.targets))
        parents = {child: k for k, node in enumerate(self.file.nodes) for child in node.children}
        inverse = self.array(self.skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
        moves = []
        for number, joint in enumerate(self.skin.joints):
            whole, node = np.eye(4), joint
            while node is not None:
                own = np.eye(4)
                translation, rotation = nodes[node]
                if translation is not None:
                    own[:3, 3] = translation
                if rotation is not None:
                    own[:3, :3] = Rotation.from_quat(rotation).as_matrix()
                whole, node = own @ whole, parents.get(node)
            moves.append(whole @ inverse[number])
        joints = self.array(self.primitive.attributes.JOINTS_0)
        shares = self.array(self.primitive.attributes.WEIGHTS_0)
        blended = np.einsum("vk,vkxy->vxy", shares, np.stack(moves)[joints])
        return np.einsum("vxy,vy->vx", blended, np.c_[morphed, np.ones(len(morphed))])[:, :3]

    def _read(self, view: int, kind: int, count: int, width: int) -> np.ndarray:
        place = self.file.bufferViews[view]
        blob = self.file.binary_blob()
        numbers = np.frombuffer(blob, TYPES[kind], count * width, place.byteOffset)
        return numbers.reshape(count, width)
