"""Subclasses of str and int whose methods lie, and objects that say they are what they are not."""

__all__ = ["Imposter", "Liar", "LyingNumber"]


class Liar(str):
    """A str whose methods speak for another text, also for two in turn: only its characters are true."""

    def __new__(cls, truth, lie, then=None):
        self = str.__new__(cls, truth)
        self.__dict__["lies"] = [lie] if then is None else [then, lie]
        return self

    def _lie(self):
        lies = self.__dict__["lies"]
        return lies.pop() if len(lies) > 1 else lies[0]

    __class__ = property(lambda self: object)

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    def __hash__(self):
        return hash(self._lie())

    def __bool__(self):
        return bool(self._lie())

    def __repr__(self):
        return self._lie()


def _speak_for_the_lie(name):
    def method(self, *arguments, **options):
        return getattr(str, name)(self._lie(), *arguments, **options)

    return method


for _name in (
    set(dir(str))
    - set(Liar.__dict__)
    - {
        "__new__",
        "__init__",
        "__getattribute__",
        "__setattr__",
        "__delattr__",
        "__init_subclass__",
        "__subclasshook__",
        "__doc__",
        "maketrans",
        "__reduce__",
        "__reduce_ex__",
        "__getstate__",
    }
):
    setattr(Liar, _name, _speak_for_the_lie(_name))


class LyingNumber(int):
    """An int whose every method speaks for another number."""

    def __new__(cls, truth, lie):
        self = int.__new__(cls, truth)
        self.__dict__["lie"] = lie
        return self

    def __repr__(self):
        return "1000\ndata: forged\n\n"

    __str__ = __repr__

    def __format__(self, spec):
        return repr(self)

    def __hash__(self):
        return hash(self.__dict__["lie"])


def _calculate_with_the_lie(name):
    def method(self, *arguments):
        return getattr(int, name)(self.__dict__["lie"], *arguments)

    return method


for _name in (
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
    "__eq__",
    "__ne__",
    "__index__",
    "__int__",
    "__bool__",
    "__add__",
    "__float__",
    "__trunc__",
    "__abs__",
    "__pos__",
):
    setattr(LyingNumber, _name, _calculate_with_the_lie(_name))


class Imposter:
    """No str at all, though its class says so, and everything that it is asked for is a text's."""

    __class__ = str

    def __init__(self, text):
        self.__dict__["text"] = text

    def __getattr__(self, name):
        return getattr(self.__dict__["text"], name)

    def __str__(self):
        return self.__dict__["text"]

    def __iter__(self):
        return iter(self.__dict__["text"])

    def __len__(self):
        return len(self.__dict__["text"])
