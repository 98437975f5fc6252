"""Calls of the supervisor's repositories: roles and policies are the installation's, the audit log nobody's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentdb.errors import AgentDBError, BadInput, InvalidTransition, NotFound, ReadOnly
from tests.tenants.walking import Call
from tests.tenants.worlds import LONG_AGO, Person

Made = Callable[[Any, Person], Any]
BROUGHT = "$2b$04$" + "." * 21 + "O" + "." * 31
REFUSED = (NotFound, ReadOnly, BadInput)


def unseen(make: Made) -> Call:
    """Return the call of what only the installation sees or changes."""
    return Call(make, may=REFUSED, of_nobody=True)


def own_only(make: Made, *may: type[AgentDBError]) -> Call:
    """Return the call of what a user may be refused even for what is their own."""
    return Call(make, may=may)


CALLS: dict[str, dict[str, Call]] = {
    "api_keys": {
        "authenticate": Call(lambda at, p: at.authenticate(p.key.plaintext)),
        "find_provider_key": Call(lambda at, p: at.find_provider_key(p.id, p.provider.id, f"provider key of {p.name}")),
        "get": Call(lambda at, p: at.get(p.key.key.id)),
        "issue": Call(lambda at, p: at.issue(p.id, "new", by=None)),
        "list": Call(lambda at, p: at.list(p.id)),
        "mark_valid": Call(lambda at, p: at.mark_valid(p.provider_key.id, False)),
        "remove_expired": Call(lambda at, _: at.remove_expired(LONG_AGO), of_nobody=True),
        "reveal": Call(lambda at, p: at.reveal(p.provider_key.id, by=None)),
        "revoke": Call(lambda at, p: at.revoke(p.key.key.id, by=None)),
        "rotate": Call(lambda at, p: at.rotate(p.key.key.id, by=None)),
        "store_provider_key": Call(lambda at, p: at.store_provider_key(p.id, p.provider.id, "new", "sk-new", by=None)),
    },
    "audit": {
        "between": Call(lambda at, _: at.between(), of_nobody=True),
        "of_actor": Call(lambda at, p: at.of_actor(p.id)),
        "of_entity": Call(lambda at, p: at.of_entity("users", p.id)),
        "record": Call(lambda at, p: at.record(actor_id=p.id, action="look", entity="users")),
    },
    "leads": {
        "descendants": Call(lambda at, p: at.descendants(p.id, including=True)),
        "disable_tree": Call(lambda at, p: at.disable_tree(p.id)),
        "enable_tree": Call(lambda at, p: at.enable_tree(p.id)),
        "leads": Call(lambda at, p: at.leads(p.id)),
        "set_lead": Call(lambda at, p: at.set_lead(p.id, None)),
    },
    "logins": {
        "authenticate": Call(lambda at, p: at.authenticate(p.login.token)),
        "end": Call(lambda at, p: at.end(p.login.token)),
        "of_user": Call(lambda at, p: at.of_user(p.id)),
        "purge": Call(lambda at, _: at.purge(), of_nobody=True),
        "revoke": Call(lambda at, p: at.revoke(p.login.session.session_id)),
        "revoke_all": Call(lambda at, p: at.revoke_all(p.id)),
        "start": Call(lambda at, p: at.start(p.id)),
    },
    "passkeys": {
        "by_credential_id": Call(lambda at, p: at.by_credential_id(p.passkey.credential_id)),
        "clear": Call(lambda at, p: at.clear(p.id)),
        "delete": Call(lambda at, p: at.delete(p.id, p.passkey.id)),
        "enroll": Call(lambda at, p: at.enroll(p.id, credential_id="new", public_key="new")),
        "of_user": Call(lambda at, p: at.of_user(p.id)),
        "rename": Call(lambda at, p: at.rename(p.id, p.passkey.id, "new")),
        "use": Call(lambda at, p: at.use(p.passkey.credential_id, 7)),
    },
    "passwords": {
        "bring": Call(lambda at, p: at.bring(p.id, BROUGHT)),
        "change": Call(lambda at, p: at.change(p.id, "another horse battery", current=f"correct horse of {p.name}")),
        "clear": Call(lambda at, p: at.clear(p.id)),
        "set": Call(lambda at, p: at.set(p.id, "a third horse battery")),
        "verify": Call(lambda at, p: at.verify(p.name, "wrong"), alone=True),
    },
    "permissions": {
        "access_map": Call(lambda at, p: at.access_map(p.id)),
        "can": Call(lambda at, p: at.can(p.id, "read", "users")),
        "grant": Call(lambda at, p: at.grant(p.id, "users:write", by=None)),
        "holders": Call(lambda at, _: at.holders("users:read"), of_nobody=True),
        "of_user": Call(lambda at, p: at.of_user(p.id)),
        "revoke": Call(lambda at, p: at.revoke(p.id, "users:read", by=None)),
    },
    "policies": {
        "change": unseen(lambda at, p: at.change(p.policy.id, name="new", by=None)),
        "create": unseen(lambda at, _: at.create("new", "x", "y", by=None)),
        "define": unseen(lambda at, _: at.define("new", "x", "y", by=None)),
        "list": unseen(lambda at, _: at.list()),
    },
    "registrations": {
        "bootstrap": unseen(lambda at, _: at.bootstrap()),
        "check": Call(lambda at, p: at.check(p.registration.token)),
        "consume_for_passkey": Call(
            lambda at, p: at.consume_for_passkey(p.registration.token, credential_id="new", public_key="new")
        ),
        "consume_for_password": Call(
            lambda at, p: at.consume_for_password(p.registration.token, "a fourth horse battery"), alone=True
        ),
        "issue": Call(lambda at, p: at.issue(p.id)),
    },
    "roles": {
        "add_policy": unseen(lambda at, p: at.add_policy(p.role.id, "x", "y", by=None)),
        "assign": own_only(lambda at, p: at.assign(p.id, "tenants' role", by=None), *REFUSED),
        "by_name": unseen(lambda at, p: at.by_name(p.role.name)),
        "change": unseen(lambda at, p: at.change(p.role.id, name="new", by=None)),
        "create": unseen(lambda at, _: at.create("new", by=None)),
        "list": unseen(lambda at, _: at.list()),
        "policies": unseen(lambda at, p: at.policies(p.role.id)),
        "remove_policy": unseen(lambda at, p: at.remove_policy(p.role.id, "things", "read", by=None)),
        "rename": unseen(lambda at, p: at.rename(p.role.id, "new", by=None)),
        "set_policies": unseen(lambda at, p: at.set_policies(p.role.id, [], by=None)),
    },
    "runtime_keys": {
        "issue": Call(lambda at, p: at.issue(p.id)),
        "revoke": Call(lambda at, p: at.revoke(p.id)),
        "user_of": Call(lambda at, p: at.user_of(p.runtime_key)),
    },
    "users": {
        "archive": Call(lambda at, p: at.archive(p.id)),
        "by_email": Call(lambda at, p: at.by_email(f"{p.name}@example.org")),
        "by_username": Call(lambda at, p: at.by_username(p.name)),
        "create": Call(lambda at, _: at.create("new"), own=ReadOnly, of_nobody=True),
        "disable": Call(lambda at, p: at.disable(p.id)),
        "enable": Call(lambda at, p: at.enable(p.id)),
        "get_or_create": Call(lambda at, p: at.get_or_create(p.name), theirs=(ReadOnly,)),
        "list": Call(lambda at, _: at.list(), of_nobody=True),
        "rename": Call(lambda at, p: at.rename(p.id, "renamed")),
        "restore": Call(lambda at, p: at.restore(p.id), own=InvalidTransition),
        "search": Call(lambda at, p: at.search(p.name)),
    },
}
