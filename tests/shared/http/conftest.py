"""An API of notes, in a database of its own."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from tests.shared.http.notes import an_app
from tests.support.databases import Databases
from tests.support.serving import client_of


@pytest.fixture
async def app(database: Databases) -> FastAPI:
    return an_app(await database("feedback"))


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client
