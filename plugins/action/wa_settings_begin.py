# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A part of the role wa_settings: the first task of each of its entry points."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ansible.errors import AnsibleError
from ansible.utils.display import Display

from ansible_collections.wabiz.onprem.plugins.module_utils._checks import InvalidOptions
from ansible_collections.wabiz.onprem.plugins.module_utils._plan import nothing_sent
from ansible_collections.wabiz.onprem.plugins.module_utils._secrets import mask_url
from ansible_collections.wabiz.onprem.plugins.module_utils._settings import application_settings
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.wabiz.onprem.plugins.plugin_utils._backends.base import Member, Problem
from ansible_collections.wabiz.onprem.plugins.plugin_utils._campaign import VARIABLES, in_words, left_alone
from ansible_collections.wabiz.onprem.plugins.plugin_utils._campaign import read_variables as read_campaign
from ansible_collections.wabiz.onprem.plugins.plugin_utils._cluster import Inventory, as_plain, play_of
from ansible_collections.wabiz.onprem.plugins.plugin_utils._context import Context, context_from_json, context_to_json
from ansible_collections.wabiz.onprem.plugins.plugin_utils._direct import DirectAction, run_here
from ansible_collections.wabiz.onprem.plugins.plugin_utils._execution import FLOWS, carry_out, is_silent, work_of
from ansible_collections.wabiz.onprem.plugins.plugin_utils._handover import (
    alone,
    append,
    claim,
    drop,
    keep,
    recall,
    set_claim,
    take,
    uses_of,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._media import combined
from ansible_collections.wabiz.onprem.plugins.plugin_utils._protocol import Refused, Wanted
from ansible_collections.wabiz.onprem.plugins.plugin_utils._record import (
    Record,
    Sent,
    Unreadable,
    others_record,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._role import RoleAction, in_words_of_the_role, with_origin
from ansible_collections.wabiz.onprem.plugins.plugin_utils._steps import Item, demand_steps
from ansible_collections.wabiz.onprem.plugins.plugin_utils._store import FileStore, Unreachable
from ansible_collections.wabiz.onprem.plugins.plugin_utils._summary import (
    LOST,
    client_of,
    of_all_clients,
    report,
    so_far,
    summary_line,
)
from ansible_collections.wabiz.onprem.plugins.plugin_utils._variables import (
    CONNECTION,
    PREFIX,
    InvalidVariables,
    without_omitted,
)

Result = dict[str, Any]

_TAGS = frozenset({"settings", "restart"})
_TOPIC = "wabiz restart what is pending"
_TURNS = "__wa_settings_turns"  # the fact by which a host tells others that it is done with a turn

display = Display()


class ActionModule(RoleAction):
    """The one task of a converged host. Every host of a fleet pays for it, so it does no more than it must.

    It refuses what can be refused, compares the settings, writes them if nothing has to restart for them, and says
    which steps are to follow.
    """

    direct = FLOWS["wa_application_settings"]

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Result:
        self._vars = task_vars or {}
        self._warnings: list[str] = []
        self._is_one_client = False  # whether that has been looked at
        self._is_read = False  # whether the variables could be read
        self._later = bool(self._task.args.get("later"))
        # Not DirectAction's own: there is no module behind this action.
        result: Result = super(DirectAction, self).run(tmp, self._vars)
        entry = str(self._task.args.get("entry", "main"))
        self._turns: dict[str, int] = self._vars.get(_TURNS) or {}
        result.update(changed=False, steps=[], restarts=[], **(_conclusion(_summary()) if entry == "main" else {}))
        try:
            found: dict[str, Callable[[], Result]] = {
                "main": self._main,
                "restart": self._restart,
                "handler": self._handler,
                "pending": self._pending,
                "campaign_begin": partial(self._campaign, True),
                "campaign_end": partial(self._campaign, False),
            }
            result.update(found[entry]())
        except Unreachable as problem:
            result.update(unreachable=True, msg=problem.reason)
        except (InvalidVariables, InvalidOptions, Problem, Refused) as problem:
            lost = f". {LOST}" if entry == "handler" and not self._task.check_mode else ""
            result.update(failed=True, msg=f"{problem}{lost}")
        if result.get("failed"):
            result["msg"] = in_words_of_the_role(str(result.get("msg", "")))
            result.update(self._left(result.get("wa_settings_summary")))
        if self._warnings:
            result["warnings"] = [*result.get("warnings", ()), *self._warnings]
        if self._turns:
            result["turns"] = self._turns
        result["goes_on"] = bool(result["steps"] or result["restarts"])
        # A change alone tells the handler, also if nothing has to restart for it.
        later = entry == "main" and self._later
        result["is_done"] = later and not recall("demands", str(self._vars["inventory_hostname"]))
        result["notify"] = [_TOPIC] if result.pop("may_restart", False) else []
        return result

    # --- what is meant ---------------------------------------------------------------------------------------

    def _read(self) -> None:
        super()._read()
        if self._api is None:
            # This process is a worker of its own, so the task's environment can be its own, too.
            os.environ.update(self._own_environment())
        self._is_read = True

    def _left(self, summary: Mapping[str, Any] | None) -> Result:
        """What is to be said of restarts after a failure: if nothing else is known, what this host's record says."""
        if not self._is_read or (summary or {}).get("pending", []) not in ([], [f"all Coreapps on {self._own}"]):
            return {}
        try:
            record = self._own_record()
        except Problem:
            record = Record(self._cluster, self._own, elsewhere=(self._own,))  # nobody can tell, so all may be
        return {} if record is None else _conclusion({**(summary or _summary()), "pending": record.labels()})

    def _selected(self) -> frozenset[str]:
        """Which of the role's two tags run: both, if the role is not chosen by one of them.

        The task itself has the tag C(always), since a task with both tags would be skipped with either.
        """
        run = set(self._vars.get("ansible_run_tags", ()))
        asked = _TAGS & run
        if not asked and run & {"all", "tagged", *self._task.tags} - {"always"}:
            asked = _TAGS
        return frozenset(asked - set(self._vars.get("ansible_skip_tags", ())))

    # --- entry points ----------------------------------------------------------------------------------------

    def _main(self) -> Result:
        if not self._selected():
            return {}
        self._read()
        if self._later and self._api not in (None, self._own):
            raise Problem(
                f"{PREFIX}api_delegate: this playbook calls the API from the controller (with the Python package "
                "requests) or from the host itself; for another host use the role in a play of your own"
            )
        options, self._origins = self._declared() if "settings" in self._selected() else (None, {})
        is_reset = options is None or options.get("state") == "absent"
        self._providers: list[dict[str, Any]] | None = None if is_reset else self._values["media_providers"]
        said = repr((options, self._providers))
        everything = self._values["restart"] == "always" and self._may_restart()
        if self._single:
            return self._compare(options, everything or self._was_asked_before())
        with alone("cluster", self._cluster):
            # Settings of a cluster are read and written once, whichever of its hosts comes first.
            self._require_known_client()
            other = claim(self._cluster) or {}
            is_same = other.get("host", self._own) != self._own and other["declaration"] == said
            state = other["state"] if is_same else ""
            # What the first host of the cluster demands is pending on the records of all, those of later batches too.
            everything = everything and (self._comes_first("always") or state == "failed")
            everything = everything or self._was_asked_before()
            if state == "open" and other["host"] in self._vars["ansible_play_batch"]:
                record = self._own_record()
                self._remember()
                return self._left_to_another(record, other["host"])
            if options is not None and state != "done":
                self._require_all_of_one_client()
            # What is still pending may be on the record of this host only.
            found = self._compare(None if state == "done" else options, everything)
            goes_on = bool(found.get("steps")) or (self._later and found.get("changed", False))
            state = "failed" if found.get("failed") else "open" if goes_on else "done"
            set_claim(self._cluster, self._own, state, said)
            return found

    def _require_all_of_one_client(self) -> None:
        """Sees that one client answers for all hosts of the cluster, if this process can ask. Raises Refused.

        Not every host of a cluster has a Webapp: if the address of this one is silent, another host's is used.
        """
        if self._single or self._api is not None:
            return
        self._is_one_client = True
        own = str(self._values["api_url"])
        others = self._others()
        answering = self._require_one_client(others) if others else None
        if answering is not None and is_silent(self._connection_options()):
            there = others[answering]
            self._warnings.append(
                f"cluster {self._cluster}: {mask_url(own)} does not answer, so the address of {answering} is used, "
                f"{mask_url(str(there['api_url']))}"
            )
            self._values.update({name: there.get(name) for name in CONNECTION})
        with alone("addresses", self._cluster):
            self._know(own, *(str(there["api_url"]) for there in others.values()))

    def _require_known_client(self) -> None:
        """Sees that this host's address is of the client that was seen under this name before. Raises Refused.

        What a loop says of an address no other host's task can know, so it is looked at when the host's turn comes.
        """
        if self._single or self._api is not None:
            return
        with alone("addresses", self._cluster):
            own = str(self._values["api_url"])
            known = recall("addresses", self._cluster)
            if known and own not in known["of"]:
                end = f"Nothing is written for {self._own}; {known['host']} came first in this run"
                self._require_one_client({known["host"]: known["connection"]}, end=end)
            self._know(own)

    def _know(self, *addresses: str) -> None:
        """Keeps addresses that are of one client, as far as it is known, with the host that came first."""
        first: Result = {"host": self._own, "connection": self._connection_options(), "of": []}
        known: Result = recall("addresses", self._cluster) or first
        if new := [address for address in addresses if address not in known["of"]]:
            keep({**known, "of": [*known["of"], *new]}, "addresses", self._cluster)

    def _may_restart(self) -> bool:
        return self._values["restart"] != "never" and "restart" in self._selected()

    def _compare(self, options: dict[str, Any] | None, everything: bool) -> Result:
        """everything: whether all Coreapps restart, whatever differs."""
        record = self._own_record()
        campaign = record.campaign if record is not None else None
        if options is not None and record is not None and campaign is not None:
            client = str(self._values["api_url"])
            if self._single and record.is_of_another(client):
                raise Problem(others_record(self._store().name, record))
            options = left_alone(options, campaign)
            self._warnings.append(in_words(campaign))
        found: Result = {}
        undecided = options is not None and self._api not in (None, self._own)
        if options is not None and not undecided:
            found = self._settings(options, record.sent if record is not None else None)
            if found.get("failed"):
                found["msg"] = with_origin(str(found.get("msg")), self._origins)
                found.update(_conclusion(_summary(pending=record.labels() if record is not None else [])))
                if record is not None and record.returning is not None:
                    found["msg"] = (
                        f"{found.get('msg')}. {record.returning.name} on {self._own} was stopped by an earlier run and "
                        "has not been seen healthy since; run with --tags restart, which starts it again"
                    )
                return found
        held, health = bool(found.pop("held", False)), found.pop("health", None)
        # What is held back is not written yet, so it has not changed.
        told: Result = {"changed": False} if held else found
        provided: Result = {}
        if options is not None and not undecided and self._providers is not None:
            host = None if self._api is None else self._host()
            provided = self._keep_providers(self._providers, self._run_of_task(self._vars), host)
            told = combined(told, provided)
            if provided.get("failed"):
                return told
        resumes = record is not None and record.is_pending and self._may_restart()
        if not (held or undecided or everything or resumes or record is None):
            self._remember(tuple(told.get("changed_settings", ())))
            return {**told, **self._said(told, record)}
        context = self._context(
            settings=options if held or undecided else None,
            wanted=Wanted(tuple(found.get("restart_settings", ())) if held else (), everything),
            unverified=tuple(found.get("unverified_settings", ())) if held else (),
            client_version=found.get("client_version"),
            changes=tuple((provided if held else told).get("changed_settings", ())),
            health=health,
            providers=self._providers if undecided else None,
        )
        steps = demand_steps(
            context.hosts,
            peek=self._own if record is None or undecided else None,
            ask=undecided,
            health=health is None,
            writes=context.settings is not None,
            providers=context.providers is not None,
        )
        items = context.items(steps, "demand")
        here = self._later and items[0].get("alone")
        if self._later and not here:
            result = combined(found, provided) if provided else found
            counted = not result.get("changed")
            self._keep({**context_to_json(context), "steps": items, "by_itself": True, "counted": counted})
            append("demands", self._own, context.id)
            return {**result, "changed": True}
        if here:
            self._keep({**context_to_json(context), "tells_change": bool(told.get("changed"))})
            did = self._carry_out(items, {} if held else found)
            return combined(did, provided) if provided else did
        return {**told, "steps": items, "may_restart": context.may_restart}

    def _said(self, found: Result, record: Record | None) -> Result:
        """What is to be said of a host that is done with this task."""
        pending = record.labels() if record is not None else []
        summary = _summary(found.get("changed_settings", []), pending)
        if found.get("changed") or pending:
            only_on = "" if self._single else self._own
            check_mode = bool(self._task.check_mode)
            self._say(summary_line(self._cluster, summary, check_mode, self._may_restart(), only_on))
        return self._shown(summary)

    def _shown(self, summary: dict[str, list[str]]) -> Result:
        """A summary for the facts, and for the report if one is asked for."""
        if not self._later or self._values["report"]:
            summary = self._of_all_clients(summary)
        shown = {"ansible_stats": report(self._own, summary)} if self._values["report"] else {}
        return {**shown, **_conclusion(summary)}

    def _of_all_clients(self, summary: dict[str, list[str]]) -> dict[str, list[str]]:
        client, only_own = client_of(self._cluster, self._connection_options()), not self._single
        return of_all_clients(self._own, client, summary, only_own, bool(self._task.check_mode))

    def _was_asked_before(self) -> bool:
        """Whether a task of a user has notified the handler before the play came to this use of the role, and the
        handler knew other clients of this host only."""
        asked = None if self._later else recall("asked", self._own, play_of(self._vars))
        client = client_of(self._cluster, self._connection_options())
        if asked is None or client in asked:
            return False
        keep([*asked, client], "asked", self._own, play_of(self._vars))
        return True

    def _remember(self, changes: tuple[str, ...] = ()) -> None:
        """Keeps what is meant here for the handler that tasks of users notify: the variables that it sees are those of
        one use of the role, maybe of another host's."""
        if not self._later:
            # What is wrong with other hosts of the cluster is said where they are needed.
            with contextlib.suppress(Problem, AnsibleError):
                self._context(wanted=Wanted(), changes=changes)

    def _restart(self) -> Result:
        """A rolling restart of everything, by itself or because a task of the user's has notified the handler."""
        self._read()
        return self._restart_everything("restart")

    def _restart_everything(self, kind: str) -> Result:
        self._require_known_client()
        # Of all hosts of a cluster that come here, the first one acts for all. What is left for a later batch is
        # pending.
        first = self._single or self._comes_first(kind)
        if first:
            self._require_all_of_one_client()
        record = self._own_record()
        if not first and self._is_for_another(kind, record):
            return self._left_to_another(record)
        context = self._context(wanted=Wanted(everything=first), by_itself=True, notified=kind == "handler")
        return self._done_or_left(self._demand(context), [])

    def _campaign(self, begins: bool) -> Result:
        """The begin or the end of a campaign. Its restarts come at once: a campaign may be in the same play."""
        if not self._selected():
            return {}
        self._read()
        said = {name: self._vars[name] for name in VARIABLES if name in self._vars}
        wish = read_campaign(as_plain(without_omitted(self._templar.template(said), self._vars.get("omit"))))
        self._require_known_client()
        kind = f"campaign {begins} {wish['name']}"
        first = "settings" in self._selected() and (self._single or self._comes_first(kind))
        if first:
            self._require_all_of_one_client()
        record = self._own_record()
        if not first and self._is_for_another(kind, record):
            return self._left_to_another(record)
        options = {name: self._values[name] for name in ("restart_bound", "client_version")}
        given = {name: value for name, value in options.items() if value is not None}
        everything = self._values["restart"] == "always" and self._may_restart()
        if first and begins:
            self._warn_of_later_batches()
        context = self._context(
            wanted=Wanted(everything=first and everything),
            by_itself=True,
            campaign={**wish, "begins": begins, "options": given} if first else None,
        )
        return self._done_or_left(self._demand(context), [])

    def _warn_of_later_batches(self) -> None:
        """Says of a cluster that C(serial) takes apart that a campaign has not begun everywhere yet."""
        play, batch = set(self._vars["ansible_play_hosts_all"]), set(self._vars["ansible_play_batch"])
        hosts = [] if self._single else self._inventory.hosts_of(self._cluster)
        later = [host for host in hosts if host in play - batch]
        if later and self._may_restart():
            self._warnings.append(
                f"cluster {self._cluster}: {', '.join(later)} is of a later batch (serial), so its Coreapps go on "
                "collecting until then. Send nothing before the play has ended, and end the campaign in another play"
            )

    def _comes_first(self, kind: str) -> bool:
        """Whether nobody of the cluster has come here as often as this host, and no other host is about to restart all
        of it for a change."""
        with alone("turns", self._cluster, kind):
            turn = int(recall("turn", self._own, self._cluster, kind) or 0) + 1
            last, by = recall("turns", self._cluster, kind) or (0, "")
            if turn <= last and self._is_over(kind, last, by):
                # What brings this host here is newer: as hosts go side by side, all that came for the same were here.
                turn = last + 1
            keep(turn, "turn", self._own, self._cluster, kind)
            first = turn > last
            if first:
                keep([turn, self._own], "turns", self._cluster, kind)
            other = recall("awaited", self._cluster) if kind == "handler" else None
            if other == self._own:
                drop("awaited", self._cluster)
        if first:
            self._turns = {**self._turns, f"{kind} {self._cluster}": turn}
        # What has failed meanwhile does not come to its handlers.
        return first and (other in (None, self._own) or other not in self._vars["ansible_play_hosts"])

    def _is_over(self, kind: str, turn: int, host: str) -> bool:
        """Whether a host of this batch has reported the end of what it did in this turn, which is a task of its own.

        A later batch comes for the same as the ones before: its nodes are left for it.
        """
        if host == self._own or host not in self._vars["ansible_play_batch"]:
            return False
        reported = self._vars["hostvars"][host].get(_TURNS) or {}
        return bool(reported.get(f"{kind} {self._cluster}") == turn)

    def _is_for_another(self, kind: str, record: Record | None) -> bool:
        """Whether there is nothing to do for a host that does not come first.

        Who comes first does all that is pending for the hosts of its batch, and what it finds done already it would do
        once more.
        """
        _turn, by = recall("turns", self._cluster, kind) or (0, self._own)
        of_this_batch = by != self._own and by in self._vars["ansible_play_batch"]
        return of_this_batch or (record is not None and not record.is_pending)

    def _left_to_another(self, record: Record | None, host: str = "another host") -> Result:
        summary = _summary(pending=record.labels() if record is not None else [])
        return {"msg": f"{host} does this for cluster {self._cluster}", **self._shown(summary)}

    def _demand(self, context: Context) -> list[dict[str, Any]]:
        steps = demand_steps(context.hosts, health=True, campaign=context.campaign is not None)
        return context.items(steps, "demand")

    def _handler(self) -> Result:
        """The handler that tasks of users notify: all that the role looked after on this host in this play, else what
        the variables say now."""
        self._own = str(self._vars["inventory_hostname"])
        play = play_of(self._vars)
        waiting = self._clients(take("demands", self._own))
        known = {**self._clients(uses_of(self._own, play)), **waiting} or self._clients_of_others(play)
        if known is None:
            self._read()
            keep([client_of(self._cluster, self._connection_options())], "asked", self._own, play)
            return self._restart_everything("handler")
        if not known:
            if recall("asked", self._own, play) is None:
                keep([], "asked", self._own, play)
            return {"msg": f"{self._own} has not used the role in this play; what it still uses it for restarts then"}
        steps: list[dict[str, Any]] = []
        restarts: list[dict[str, Any]] = []
        for client, carried in known.items():
            self._cluster = carried["cluster"]
            first = len(carried["members"]) == 1 or self._comes_first("handler")
            if client in waiting and carried["wanted"]["settings"]:
                restarts += carried["restarts"]  # all Coreapps of the cluster
            elif first:
                again = {
                    **carried,
                    "host": self._own,
                    "id": secrets.token_hex(8),
                    "settings": None,
                    "wanted": {"settings": [], "everything": True},
                    "campaign": None,
                    "restarts": [],
                    "by_itself": True,
                    "notified": True,
                    "counted": carried["counted"] and client in waiting,
                }
                steps += self._demand(self._keep(again))
            elif client in waiting:
                restarts += carried["restarts"]
        if not steps and not restarts:
            # That this turn is over is told with the facts, which stay what they are.
            return _conclusion(so_far(self._own) or _summary())
        return self._done_or_left(steps, restarts)

    def _clients_of_others(self, play: str) -> dict[str, dict[str, Any]] | None:
        """The clients of this host for which only other hosts have used the role in this play.

        None if nobody has used it yet. If others have, the variables that the handler sees may be those of their uses.
        """
        if recall("used", play) is None:
            return None
        found = {}
        for host in self._vars["ansible_play_hosts_all"]:
            for one in self._clients(uses_of(host, play)).values():
                members = [{**of, "inside": self._inventory.is_within(of["host"])} for of in one["members"]]
                if self._own in [of["host"] for of in members]:
                    mine = {"members": members, "here": (), "environment": self._own_environment()}
                    found[one["cluster"]] = {**one, **mine}
        return found

    @staticmethod
    def _clients(names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Client to the last of these contexts that is about it."""
        found = (recall("context", name) for name in names)
        return {client_of(one["cluster"], one["connection"]): one for one in found if one}

    def _pending(self) -> Result:
        """The handler that the role notifies: what the role has written down on this host in this run."""
        self._own = str(self._vars["inventory_hostname"])
        carried = [recall("context", name) for name in take("demands", self._own)]
        for one in carried:
            if one and recall("awaited", one["cluster"]) == self._own:
                drop("awaited", one["cluster"])
        left = {what: [item for one in carried if one for item in one[what]] for what in ("steps", "restarts")}
        return self._done_or_left(**left)

    def _done_or_left(self, steps: list[Item], restarts: list[Item]) -> Result:
        """Does what this task can do; what needs other hosts is left for the loops that follow."""
        found = self._carry_out(item for item in steps if item.get("alone"))
        restarts = [*restarts, *found.pop("restarts", ())]
        if not found.get("failed"):
            found = self._carry_out((item for item in restarts if item.get("alone")), found)
        left = {"steps": steps, "restarts": restarts}
        return {**found, **{what: [item for item in items if not item.get("alone")] for what, items in left.items()}}

    def _carry_out(self, items: Iterable[Item], before: Result | None = None) -> Result:
        """Does items of this host's own, one after the other, and puts their results together."""
        together = dict(before or {})
        for item in items:
            work = work_of(str(item["context"]), bool(self._task.check_mode))
            did = carry_out(self, work, item, self._vars)
            if together.get("failed") and did.get("failed"):
                did["msg"] = f"{together['msg']}; {did['msg']}"
            for flag in ("changed", "failed"):
                did[flag] = bool(did.get(flag) or together.get(flag))
            for parts in ("warnings", "restarts"):
                did[parts] = [*together.get(parts, ()), *did.get(parts, ())]
            together.update(did)
        return together

    # --- what is there ---------------------------------------------------------------------------------------

    def _settings(self, options: dict[str, Any], sent: Sent | None) -> Result:
        """Writes the settings, unless Coreapps have to restart for it: then nothing is written yet."""
        flow = partial(
            application_settings, hold_restart_bound=True, already_sent=sent.knows if sent is not None else nothing_sent
        )
        direct = self.direct.with_flow(flow)
        args = {**self._connection_options(), **options}
        if self._api is None:
            result = run_here("wabiz.onprem.wa_application_settings", direct, args, self._run_of_task(self._vars))
        else:
            result = self._settings_by_module(args)
        if result.get("held"):
            if not self._later:
                result.pop("diff", None)
            if not self._task.check_mode:
                result.pop("warnings", None)  # of a prediction; what is written says its own
        elif not result.get("changed"):
            # Every host of a converged fleet sends its result through two processes; twice the same is not news.
            result.pop("before", None)
            result.pop("after", None)
        elif self._task.check_mode and not self._single and self._is_predicted(options):
            result.update(changed=False, changed_settings=[], restart_settings=[], held=False)
            result.pop("diff", None)
        return result

    def _settings_by_module(self, args: dict[str, Any]) -> Result:
        """The same where only the host itself reaches the API."""
        host = self._host()
        result = host.module("wabiz.onprem.wa_application_settings", args, check_mode=True)
        if result.get("restart_settings"):
            return {**result, "held": True}
        if result.get("changed") and not self._task.check_mode:
            return host.module("wabiz.onprem.wa_application_settings", args)
        return result

    def _is_predicted(self, options: Mapping[str, Any]) -> bool:
        """Whether another host of the cluster has already said in check mode that it would write the same."""
        names = (self._cluster, repr(sorted(options.items(), key=str)))
        if recall("predicted", *names):
            return True
        keep(self._own, "predicted", *names)
        return False

    def _own_record(self) -> Record | None:
        """The record of the present host; None where this task cannot reach it. Raises Problem."""
        store = self._store()
        if not isinstance(store, FileStore):
            return None  # the other backends keep it where another connection leads
        try:
            return self._record_in(store)
        except Unreadable:
            return None

    def _context(
        self,
        *,
        wanted: Wanted,
        settings: dict[str, Any] | None = None,
        unverified: tuple[str, ...] = (),
        client_version: str | None = None,
        changes: tuple[str, ...] = (),
        health: Mapping[str, Any] | None = None,
        by_itself: bool = False,
        providers: list[dict[str, Any]] | None = None,
        campaign: Mapping[str, Any] | None = None,
        notified: bool = False,
    ) -> Context:
        """What is handed over to the steps, kept for the rest of the run."""
        name = secrets.token_hex(8)
        play = play_of(self._vars)
        if not notified:  # a handler is no use of the role
            append("contexts", self._own, [play, name])
            if recall("used", play) is None:
                keep(True, "used", play)
        members: dict[str, Member] = {self._own: self._member}
        others: dict[str, dict[str, Any]] = {}
        here: tuple[str, ...] = ()
        if not self._single:
            inventory = self._inventory
            others = {} if self._is_one_client else self._others()
            hosts = inventory.hosts_of(self._cluster)
            members = dict.fromkeys(hosts, self._member)
            for host in hosts:
                if host != self._own:
                    member = self._other_member(inventory, host)
                    options = self._module_defaults(member.backend, inventory.variables(host))
                    members[host] = replace(member, options=options)
                    refusal = BACKENDS[members[host].backend].refusal(members[host])
                    if refusal is not None:
                        raise Problem(f"{host}: {refusal}")
            here = self._reached_from_here(inventory, members)
        context = Context(
            id=name,
            host=self._own,
            cluster=self._cluster,
            members=tuple(members.values()),
            environment=self._own_environment(),
            connection=self._connection_options(),
            settings=settings,
            wanted=wanted,
            unverified=unverified,
            client_version=client_version,
            changes=changes,
            values=self._values,
            api=self._api,
            may_restart=self._may_restart(),
            by_itself=by_itself,
            notified=notified,
            health=health,
            providers=providers,
            others=others,
            campaign=campaign,
            here=here,
        )
        keep(context_to_json(context), "context", context.id)
        return context

    def _other_member(self, inventory: Inventory, host: str) -> Member:
        """What is declared of another host's containers. Raises Problem, which names that host."""
        try:
            return inventory.member(host)
        except (AnsibleError, InvalidVariables) as problem:
            said = " ".join(str(problem).split())
            why = ", as its name comes from a loop" if inventory.is_looped else ""
            raise Problem(f"{host}, which belongs to cluster {self._cluster} as well{why}: {said}") from None

    def _reached_from_here(self, inventory: Inventory, members: Mapping[str, Member]) -> tuple[str, ...]:
        """The hosts whose steps need no task of their own: in a fleet without machines, every host is this one."""
        if self._api is not None or not self._host().is_here or any(self._task.environment or ()):
            return ()
        connection = str(self._task.connection)
        own = [host for host, member in members.items() if not BACKENDS[member.backend].on_api_host]
        return tuple(host for host in own if inventory.is_local(host, connection))

    def _keep(self, carried: Mapping[str, Any]) -> Context:
        keep(carried, "context", str(carried["id"]))
        return context_from_json(carried)

    def _say(self, line: str) -> None:
        display.display(f"[{self._own}] {line}")


def _summary(changed_settings: list[str] | None = None, pending: list[str] | None = None) -> dict[str, list[str]]:
    return {"changed_settings": changed_settings or [], "restarted": [], "pending": pending or []}


def _conclusion(summary: Mapping[str, Any]) -> Result:
    return {"wa_settings_summary": summary, "wa_settings_restart_required": bool(summary["pending"])}
