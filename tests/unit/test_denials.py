"""What the broker denies to a user: kept by kind, for a time, and logged without limitless lines."""

from __future__ import annotations

import secrets

import pytest

from broker import identity
from broker.jetstream.denials import Denials

PUBLISH = 'nats: permissions violation for publish to "test.{}.events"'


def test_a_denied_publish_counts_for_a_minute_and_a_subscription_until_the_next_connection() -> None:
    now = 0.0
    denials = Denials(lambda: now)
    denials.add(PUBLISH.format(identity.new_test_id()))
    denials.add('nats: permissions violation for subscription to "_INBOX.4Tz9Ab"')
    assert denials.kinds == [
        PUBLISH.format("<id>"),
        'nats: permissions violation for subscription to "_inbox.>"',
    ]
    now = 61.0
    assert denials.kinds == ['nats: permissions violation for subscription to "_inbox.>"']
    denials.forget_all()
    assert denials.kinds == []


def test_each_kind_is_logged_once_however_many_runs_meet_it(caplog: pytest.LogCaptureFixture) -> None:
    denials = Denials()
    for number in range(20):
        denials.add(PUBLISH.format(identity.new_test_id()))
        denials.add('permissions violation for publish to "$js.api.stream.info.events"')
        denials.add(f'permissions violation for publish to "$JS.ACK.EVENTS.projector.1.{number}.1.17.0"')
        denials.add(f'permissions violation for publish to "$JS.API.CONSUMER.CREATE.EVENTS.{secrets.token_hex(8)}"')
    assert len(caplog.messages) == 4


def test_the_kinds_are_limited() -> None:
    now = 0.0
    denials = Denials(lambda: now)
    for number in range(1000):
        denials.add(f'permissions violation for publish to "x.{number}"')
    assert len(denials.kinds) == 100
    now = 100.0
    denials.add('permissions violation for publish to "y"')
    assert denials.kinds == ['permissions violation for publish to "y"']
