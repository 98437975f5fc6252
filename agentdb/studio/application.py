"""The pages put together."""

from __future__ import annotations

import inspect
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.status import HTTP_400_BAD_REQUEST
from starlette_admin.base import BaseAdmin
from starlette_admin.routing import route
from starlette_admin.theme import DefaultTheme, TablerSettings
from starlette_admin.views import CustomView, DropDown

from agentdb.database import Database
from agentdb.studio.answers import answering
from agentdb.studio.repositories import models
from agentdb.studio.spending import PERIODS, chart_of
from agentdb.studio.tables import TableView

_TEMPLATES: Final = Path(__file__).parent / "templates"
_ICONS: Final[Mapping[str, str]] = {
    "supervisor": "fa fa-user-shield",
    "hub": "fa fa-server",
    "catalog": "fa fa-book",
    "conversation": "fa fa-comments",
    "knowledge": "fa fa-brain",
    "execution": "fa fa-play",
    "integration": "fa fa-plug",
}


class Home(CustomView):
    """All tables, with what each is."""

    menu_label = "Tables"
    icon = "fa fa-table"
    path = "/"
    route_name = "index"
    add_to_menu = True

    def __init__(self, groups: Mapping[str, list[TableView]], *, writes: bool) -> None:
        self.groups = groups
        self.writes = writes
        super().__init__()

    @route("")
    async def index(self, request: Request) -> Response:
        """Show them."""
        groups = {
            name: [(view.key, (inspect.getdoc(view.model) or "").partition("\n")[0]) for view in views]
            for name, views in self.groups.items()
        }
        context = {"title": "agentdb studio", "groups": groups, "icons": _ICONS, "writes": self.writes}
        return _page(self, request, "studio/home.html", context)


class SpendingPage(CustomView):
    """What was spent."""

    menu_label = "Spending"
    icon = "fa fa-chart-column"
    path = "/spending"
    route_name = "spending"
    add_to_menu = True

    def __init__(self, db: Database) -> None:
        self.db = db
        super().__init__()

    @route("")
    async def index(self, request: Request) -> Response:
        """Show the last days."""
        asked = request.query_params.get("days", "30")
        if asked not in map(str, PERIODS):
            raise HTTPException(HTTP_400_BAD_REQUEST, f"spending is shown for {', '.join(map(str, PERIODS))} days")
        with answering():
            chart = await chart_of(self.db, int(asked))
        context = {"title": "Spending", "chart": chart, "days": int(asked), "periods": PERIODS}
        return _page(self, request, "studio/spending.html", context)


def application(db: Database, *, writes: bool = False) -> Starlette:
    """Return the studio over an open database, without a door: whoever reaches it sees everything.

    Args: writes: whether rows may be edited.
    """
    logging.getLogger("starlette_admin").setLevel(logging.WARNING)  # below that it tells what rows hold
    groups = {name: [TableView(db, model, writes=writes) for model in listed] for name, listed in models().items()}
    admin = BaseAdmin(
        title="agentdb studio",
        base_url="",
        route_name="studio",
        templates_dir=str(_TEMPLATES),
        index_view=Home(groups, writes=writes),
        theme=DefaultTheme(TablerSettings(base="slate", primary="indigo")),
        secret_key=secrets.token_urlsafe(32),
        timezone_config=None,
    )
    admin.add_view(SpendingPage(db))
    for name, views in groups.items():
        admin.add_view(DropDown(name, icon=_ICONS.get(name, "fa fa-gear"), views=list(views), always_open=False))
    app = Starlette()
    admin.mount_to(app)
    return app


def _page(view: CustomView, request: Request, template: str, context: dict[str, Any]) -> Response:
    if view.templates is None:
        raise TypeError(f"{type(view).__name__} is not part of a studio")
    return view.templates.TemplateResponse(request=request, name=template, context=context)
