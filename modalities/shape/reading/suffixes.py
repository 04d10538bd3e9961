"""What files of shapes are called."""

CLOUDS = frozenset((".txt", ".pts", ".xyz", ".npy"))
MESHES = frozenset((".obj", ".off", ".stl", ".ply", ".glb", ".gltf", ".3mf"))
