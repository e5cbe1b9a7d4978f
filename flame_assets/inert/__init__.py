"""Bounded, inert readers of other people's files: pickles, arrays, archives, checkpoints.

Nothing in a file is imported, called or hashed, no memory of it is interpreted by NumPy's or
PyTorch's unpickling, and every size is compared with the bytes that are there before memory is
taken. The limits stand in `budgets`. The room needs NumPy only and nothing else of this package, so
that any of the project's packages may use it.

| to read                       | call                                                          |
|-------------------------------|---------------------------------------------------------------|
| a pickle                      | `pickles.read_pickle(path)`, `pickles.parse_pickle(data)`     |
| .npy                          | `npy.read_npy(path)`, `npy.parse_npy(data)`                   |
| its header alone              | `npy.parse_npy_header(data)`                                  |
| .npz                          | `npy.read_npz(path, names)`                                   |
| variables of MATLAB's .mat    | `mat.read_mat(path, names)`                                   |
| a member of a zip archive     | `zips.ZipReader(file, total).read(name, limit)`               |
| a checkpoint of `torch.save`  | `checkpoints.TorchFile(path)`                                 |
| numbers of whatever came      | `arrays.as_array(value)`                                      |
| a regular file, bounded       | `files.read_regular(path, limit)`, `files.open_regular(path)` |

What values come of pickles is the table in `pickle_graph.values`; anything else than plain values
and numbers is an `arrays.Unread` that tells its name. All errors are `files.ReadError` (exit code
2): its text is one line "FILE is ...", its `reason` the line without the file. A caller adds what
it expected::

    try:
        with TorchFile(path) as checkpoint:
            tensors = checkpoint.content["model"]          # name -> TensorRef (shape, dtype)
            weight = checkpoint.read(tensors["cls_token"])  # a NumPy array, read now
    except ReadError as error:
        raise UserError(f"{error}; expected mae_pretrain_vit_base.pth") from error

A dictionary of gigabytes is read entry by entry with `TorchFile.entries()`.
"""
