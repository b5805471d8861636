"""One corpus a file: a module here that defines `CORPUS`, a `CorpusSpec`, is a value of --corpus_name by its name."""

import importlib
import pkgutil

from pipeline.data.corpus import CorpusSpec
from pipeline.runtime.errors import UserError


def corpus_names() -> list[str]:
    """The values of --corpus_name."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get_corpus(name: str) -> CorpusSpec:
    """The corpus of this name.

    Raises:
        UserError: there is none; it may be another version's, as a model from elsewhere names it.
    """
    if name not in corpus_names():
        raise UserError(f"there is no corpus {name}; expected one of {', '.join(corpus_names())}.")
    return importlib.import_module(f"{__name__}.{name}").CORPUS
