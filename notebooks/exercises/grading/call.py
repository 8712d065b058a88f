"""Call a student's functions.

It knows neither keys nor the library, since it runs in the submission's own process.
"""

from .items import Source


def answer_of(space, names, arguments):
    """What the function returns for the arguments; of two, what the second makes of the cache.

    space : {name: what the submission defines}      names : "forward", or "forward backward"
    """
    args, names = tuple(compiled(a) for a in arguments), names.split()
    missing = [name for name in names if not callable(space.get(name))]
    if missing:
        raise NameError(f"there is no function {missing[0]}")
    if len(names) == 1:
        return space[names[0]](*args)
    out, cache = space[names[0]](*args[:-1])
    return space[names[1]](args[-1], cache)


def compiled(a):
    """Code that is an argument becomes a function."""
    if not isinstance(a, Source):
        return a
    space = {}
    exec(compile(a.text, "given.py", "exec"), space)
    return space[a.name]
