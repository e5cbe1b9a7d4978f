"""The functions and classes that pickles name: today's names, and those that no data file needs."""

from flame_assets.inert.files import ReadError, shown

_RENAMED = {  # old module -> today's
    "numpy.core": "numpy._core",
    "scipy.sparse.csc": "scipy.sparse._csc",
    "scipy.sparse.csr": "scipy.sparse._csr",
    "scipy.sparse.coo": "scipy.sparse._coo",
    "pathlib._local": "pathlib",
    "copy_reg": "copyreg",
    "__builtin__": "builtins",
}
# fmt: off
_PACKAGES = frozenset({
    "_ctypes", "_pickle", "asyncio", "bdb", "cPickle", "cProfile", "cloudpickle", "code", "codeop",
    "commands", "ctypes", "dill", "distutils", "ensurepip", "ftplib", "gc", "http", "imp",
    "importlib", "inspect", "marshal", "multiprocessing", "nt", "ntpath", "os", "pdb", "pickle",
    "pip", "platform", "popen2", "posix", "posixpath", "profile", "pty", "requests", "runpy",
    "setuptools", "shutil", "signal", "smtplib", "socket", "subprocess", "sys", "tempfile",
    "timeit", "trace", "urllib", "venv", "webbrowser",
})
_BUILTINS = frozenset({
    "__build_class__", "__import__", "apply", "breakpoint", "compile", "delattr", "eval", "exec",
    "execfile", "exit", "file", "filter", "getattr", "globals", "help", "input", "locals", "map",
    "memoryview", "open", "print", "quit", "raw_input", "reduce", "setattr", "super", "type",
    "vars",
})
_FUNCTIONS = frozenset({
    "numpy.f2py.crackfortran.myeval", "numpy.fromfile", "numpy.genfromtxt", "numpy.load",
    "numpy.loadtxt", "numpy.memmap", "numpy.save", "numpy.savez", "operator.attrgetter",
    "operator.methodcaller", "torch.hub.load", "torch.jit.load", "torch.load", "torch.save",
    "types.CodeType", "types.FunctionType",
})
_INNER = frozenset({"__dict__", "__globals__", "nt", "os", "posix", "subprocess", "sys"})
# fmt: on


def global_name(module: str, name: str) -> str:
    """The dotted name of what a pickle asks for, by today's module; a ReadError for an attack.

    Nothing here imports or calls what a pickle names, whatever it is. A file that names a way to
    run commands is refused all the same: it is not what it says it is.
    """
    for old, new in _RENAMED.items():
        if module == old or module.startswith(f"{old}."):
            module = new + module[len(old) :]
    dotted = f"{module}.{name}"
    top, *inner = dotted.split(".")
    attack = (
        top in _PACKAGES
        or (top == "builtins" and inner[0] in _BUILTINS)
        or dotted in _FUNCTIONS
        or not _INNER.isdisjoint(inner)
    )
    if attack:
        raise ReadError(f"asks for {shown(dotted)}, which no data file needs; it may be hostile")
    return dotted
