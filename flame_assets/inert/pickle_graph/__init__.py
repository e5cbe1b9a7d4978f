"""A pickle as a graph of nodes, and the plain values of that graph.

`opcodes` runs a pickle's opcodes on `machine`, which writes nodes (`nodes`) for what it is asked to
build; `values` makes values of them, with `makers` for the calls of data (arrays, matrices,
containers, and `tensors` of PyTorch). `globals` holds the names of today's functions and classes.
"""
