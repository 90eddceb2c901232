"""Cases and datasets as MongoDB keeps them, by its protocol.

Each disease has a collection of its own, so that each field of its form has an index (a collection has at most 64). All that is
asked of the database is written here, from typed searches: no operator, field's name or document comes from outside.
https://www.mongodb.com/docs/manual/reference/limits/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from pymongo import ASCENDING, MongoClient, ReturnDocument, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import ConnectionFailure, DuplicateKeyError, PyMongoError

from datasets.domain.cases import Case, Quality, State, Study
from datasets.domain.datasets import Dataset, dataset_of, document_of
from datasets.domain.errors import RecordsAwayError, RefusedError
from datasets.domain.searches import Among, Between, Search, looked_by, without
from datasets.domain.sightings import facts, looked_for, sightings
from datasets.domain.versions import Forms

Document = dict[str, Any]

SELECTION_S, ANSWER_S = 5.0, 30.0
"""For a server to be found, and to answer."""
LATEST = 2
"""The number of the last migration."""
STATE_ID, FORMS_ID = "migrations", "forms"


@dataclass(frozen=True)
class Page:
    """Some of the cases that were looked for.

    Attributes:
        after: what the next page begins after; empty on the last.
        total: how many cases there are on all pages.
    """

    cases: tuple[Case, ...]
    after: str
    total: int


def connect(url: str, name: str, **options: Any) -> Database[Document]:
    """A database; nobody is asked yet."""
    client: MongoClient[Document] = MongoClient(
        url,
        serverSelectionTimeoutMS=int(SELECTION_S * 1000),
        socketTimeoutMS=int(ANSWER_S * 1000),
        appname="primage-datasets",
        **options,
    )
    return client[name]


class Records:
    """All of it.

    Args:
        journaled: what is acknowledged is on the disk of most members of the replica set.
    """

    def __init__(self, database: Database[Document], forms: Forms, *, journaled: bool = True) -> None:
        self._forms = forms
        self._database = database.with_options(write_concern=WriteConcern("majority", j=True)) if journaled else database

    def prepare(self) -> None:
        """Bring what is kept up to date: migrations in their order, indexes, and what cases are found by.

        Ended in the middle it goes on where it was; several at a time do the same, which is done once.

        Raises:
            RecordsAwayError: the database cannot be asked, or is of a newer service.
        """
        with _asked():
            state = self._database["state"]
            done = (state.find_one({"_id": STATE_ID}) or {"done": 0})["done"]
            if done > LATEST:
                raise RecordsAwayError(f"the records were migrated to {done}, and this service knows {LATEST}: start a newer one")
            for number, migrate in enumerate(self._migrations, 1):
                if number > done:
                    migrate()
                    state.update_one({"_id": STATE_ID}, {"$set": {"done": number}}, upsert=True)
            for disease in self._forms.diseases:
                self._index(disease)
                self._read_again(disease)

    @property
    def _migrations(self) -> tuple[Callable[[], None], ...]:
        return (self._index_cases, self._index_datasets)

    def _index_cases(self) -> None:
        for disease in self._forms.diseases:
            self._cases(disease).create_index([("found_version", ASCENDING)])

    def _index_datasets(self) -> None:
        self._database["datasets"].create_index([("vo", ASCENDING), ("name", ASCENDING), ("version", ASCENDING)], unique=True)
        self._database["datasets"].create_index([("digest", ASCENDING)])

    def _index(self, disease: str) -> None:
        """An index for each field that cases are found by; those that are there already stay."""
        found = [f"found.{one.path}" for one in self._forms.newest(disease).fields.values() if one.searchable]
        for path in ["state", "studies.uid", "images.seen", *found]:
            self._cases(disease).create_index([("vo", ASCENDING), (path, ASCENDING)])

    def _read_again(self, disease: str) -> None:
        """Have cases that were found by an older form's fields found by the newest one's."""
        newest, cases = self._forms.newest(disease).version, self._cases(disease)
        for document in cases.find({"found_version": {"$lt": newest}}):
            case = _case(document)
            found = {"found": case.searched(self._forms), "facts": facts(case, self._forms), "found_version": newest}
            cases.update_one({"_id": document["_id"], "revision": document["revision"]}, {"$set": found})

    def case(self, vo: str, disease: str, pseudonym: str) -> Case | None:
        """One; None where there is none.

        Raises:
            RecordsAwayError: the database cannot be asked.
        """
        with _asked():
            document = self._cases(disease).find_one({"_id": _id(vo, pseudonym)})
        return _case(document) if document else None

    def save(self, case: Case) -> Case:
        """Keep a case that nobody else has changed since it was read.

        Raises:
            RefusedError: somebody has; nothing is written.
            RecordsAwayError: the database cannot be asked. Whether it is written is not known: reading tells.
        """
        kept = replace(case, revision=case.revision + 1)
        document = _document(kept, self._forms)
        cases = self._cases(case.disease)
        with _asked():
            if not case.revision:
                try:
                    cases.insert_one(document)
                except DuplicateKeyError:
                    raise RefusedError(409, "there is a case of this patient already: open it and change it") from None
            elif not cases.find_one_and_replace(
                {"_id": document["_id"], "revision": case.revision}, document, return_document=ReturnDocument.AFTER
            ):
                raise RefusedError(409, "somebody else has changed this case meanwhile: open it again and repeat your change")
        return kept

    def search(self, search: Search) -> Page:
        """A page of what is looked for, in the order of pseudonyms.

        Raises:
            RecordsAwayError: the database cannot be asked.
        """
        query, cases = _query(search), self._cases(search.disease)
        paged = {**query, "_id": {"$gt": _id(search.vo, search.after)}} if search.after else query
        with _asked():
            total = cases.count_documents(query)
            found = [_case(one) for one in cases.find(paged).sort("_id", ASCENDING).limit(search.most + 1)]
        page = tuple(found[: search.most])
        return Page(page, page[-1].pseudonym if len(found) > search.most else "", total)

    def counts(self, search: Search) -> dict[str, dict[str, int]]:
        """How many cases have which answer to which field, or which modality, part or quality.

        To a field that is itself looked for, those are counted that all else leaves: what another answer would find.

        Raises:
            RecordsAwayError: the database cannot be asked.
        """
        counted = self._counts(search)
        for path in looked_by(search):
            counted[path] = self._counts(without(search, path)).get(path, {})
        return counted

    def _counts(self, search: Search) -> dict[str, dict[str, int]]:
        steps: list[Mapping[str, Any]] = [
            {"$match": _query(search)},
            {"$project": {"facts": 1}},
            {"$unwind": "$facts"},
            {"$group": {"_id": "$facts", "cases": {"$sum": 1}}},
        ]
        counted: dict[str, dict[str, int]] = {}
        with _asked():
            for one in self._cases(search.disease).aggregate(steps):
                path, _, answer = one["_id"].partition("=")
                counted.setdefault(path, {})[answer] = one["cases"]
        return counted

    def freeze(self, dataset: Dataset) -> Dataset:
        """Keep a dataset for ever; the same once more changes nothing.

        Raises:
            RefusedError: another one has its name and version.
            RecordsAwayError: the database cannot be asked.
        """
        with _asked():
            try:
                self._database["datasets"].insert_one(document_of(dataset) | {"_id": dataset.identifier})
            except DuplicateKeyError:
                there = self.dataset(dataset.vo, dataset.name, dataset.version)
                if there is None or there.digest != dataset.digest:
                    raise RefusedError(409, "there is another dataset of this name and version: freeze the next version") from None
        return dataset

    def dataset(self, vo: str, name: str, version: int) -> Dataset | None:
        """One; None where there is none.

        Raises:
            RecordsAwayError: the database cannot be asked, or what it has is not what was frozen.
        """
        with _asked():
            document = self._database["datasets"].find_one({"vo": vo, "name": name, "version": version}, {"_id": 0})
        return dataset_of(document) if document else None

    def datasets(self, vo: str) -> list[tuple[str, int, str]]:
        """Names, versions and digests of all in a VO.

        Raises:
            RecordsAwayError: the database cannot be asked.
        """
        with _asked():
            found = self._database["datasets"].find({"vo": vo}, {"name": 1, "version": 1, "digest": 1})
            return sorted((one["name"], one["version"], one["digest"]) for one in found)

    def withdrawn(self, vo: str, disease: str) -> frozenset[str]:
        """Pseudonyms of those whose consent has ended.

        Raises:
            RecordsAwayError: the database cannot be asked.
        """
        with _asked():
            found = self._cases(disease).find({"vo": vo, "state": State.WITHDRAWN.value}, {"pseudonym": 1})
            return frozenset(one["pseudonym"] for one in found)

    def _cases(self, disease: str) -> Collection[Document]:
        # Only what a form is called comes here, in letters that a collection's name may have.
        return self._database[f"cases_{self._forms.newest(disease).disease.replace('-', '_')}"]


@contextmanager
def _asked() -> Iterator[None]:
    try:
        yield
    except ConnectionFailure as error:
        raise RecordsAwayError(f"the records do not answer ({type(error).__name__}); try again in a minute") from error
    except PyMongoError as error:
        # Its text may hold what is kept.
        raise RecordsAwayError(f"the records refused what was asked ({type(error).__name__}): ask an operator to look") from error


def _id(vo: str, pseudonym: str) -> str:
    return f"{vo}/{pseudonym}"


def _query(search: Search) -> Document:
    """The question that a search is: fields' paths are the form's own, and values are text, numbers, days or truth."""
    query: Document = {"vo": search.vo, "state": {"$in": [state.value for state in search.states]}}
    for one in search.answers:
        query[f"found.{one.path}"] = {"$in": list(one.answers)} if isinstance(one, Among) else _between(one)
    if search.images:
        query["images.seen"] = {"$in": list(looked_for(search.images))}
    return query


def _between(one: Between) -> Document:
    return {operator: number for operator, number in (("$gte", one.low), ("$lte", one.high)) if number is not None}


def _document(case: Case, forms: Forms) -> Document:
    return {
        "_id": _id(case.vo, case.pseudonym),
        "vo": case.vo,
        "pseudonym": case.pseudonym,
        "disease": case.disease,
        "version": case.version,
        "state": case.state.value,
        "revision": case.revision,
        "answers": case.answers,
        "found": case.searched(forms),
        "found_version": forms.newest(case.disease).version,
        "facts": facts(case, forms),
        "images": {"seen": sorted({one for study in case.studies for one in sightings(study)})},
        "studies": [
            {
                "uid": study.uid,
                "modalities": list(study.modalities),
                "parts": list(study.parts),
                # As text it is in the order of days, and has no time of day that could be taken for one.
                "day": study.day.isoformat() if study.day else None,
                "instances": list(study.instances),
                "quality": study.quality.value,
            }
            for study in case.studies
        ],
    }


def _case(document: Document) -> Case:
    return Case(
        vo=document["vo"],
        pseudonym=document["pseudonym"],
        disease=document["disease"],
        version=document["version"],
        state=State(document["state"]),
        answers=document["answers"],
        studies=tuple(
            Study(
                uid=one["uid"],
                modalities=tuple(one["modalities"]),
                parts=tuple(one["parts"]),
                day=date.fromisoformat(one["day"]) if one["day"] else None,
                instances=tuple(one["instances"]),
                quality=Quality(one["quality"]),
            )
            for one in document["studies"]
        ),
        revision=document["revision"],
    )
