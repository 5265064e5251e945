//! Deliveries to the endpoints of push subscriptions.

use super::{Explanation, explain_as as e};

pub(super) const TABLE: &[Explanation] = &[
    e(
        "push.target_refused",
        "the endpoint's address may not be called",
        "The URL is no https URL, or its name leads to a loopback, private or link-local address. Those are refused, since whoever may subscribe could otherwise reach inside the network.",
        "Use an https URL with a public address. In a closed network set push.allow_private_targets, and push.allow_http where there is no TLS. Events wait meanwhile, uncounted.",
    ),
    e(
        "push.unreachable",
        "the endpoint cannot be reached",
        "Its name cannot be resolved, or no connection comes about: nobody listens there, a firewall is in between, or its certificate is not trusted. That says nothing about the event, so the try is not counted.",
        "The reason names what failed. Start or mend the endpoint; delivery goes on by itself, at the latest after push.breaker_wait_max.",
    ),
    e(
        "push.unavailable",
        "the endpoint takes nothing now",
        "It answered 429, 502, 503 or 504: it, or the proxy before it, is overloaded or down. The event waits and the try is not counted. A `Retry-After` is obeyed up to push.breaker_wait_max.",
        "Nothing needs to be done unless it lasts. If it answers 429 often, lower `config.concurrency` of the subscription, or answer the handshake with a `WebHook-Allowed-Rate`.",
    ),
    e(
        "push.waiting",
        "the endpoint is left alone for a while",
        "It failed push.breaker_failures times in a row, asked for a pause, or takes only so many requests a minute; or the subscription is just being changed. No request is sent, and nothing is counted.",
        "See the circuit and the last failure with `tidewire subscriptions show ID`. Once the endpoint answers a request well, everything that waited flows.",
    ),
    e(
        "push.failed",
        "the endpoint failed with this event",
        "It answered 408, 425 or a 5xx other than 502, 503 and 504, did not answer in time, or broke the connection off. The event is tried again with growing waits and parked after the subscription's `config.max_attempts`.",
        "Look into the endpoint's log for the `webhook-id`. Work that takes longer than the timeout belongs behind the answer: take the event, answer 202, and emit what came of it with POST /v1/events.",
    ),
    e(
        "push.refused",
        "the endpoint refused this event for good",
        "It answered with a 4xx other than 408, 410, 425 and 429. Sending the same again would not help, so the event is parked at once, and what follows on its key behind it.",
        "The reason holds the beginning of the answer. Mend the endpoint, or the subscription's filter, then `tidewire parked redrive --consumer push.ID`.",
    ),
    e(
        "push.redirected",
        "the endpoint answered with a redirect",
        "Redirects are not followed: they would lead a request, signature included, to an address that nobody checked. The event is parked.",
        "Let the subscription name the address itself: `tidewire subscriptions update ID --sink URL`. Then `tidewire parked redrive --consumer push.ID`.",
    ),
    e(
        "push.reply_invalid",
        "the event in the endpoint's answer is not valid",
        "The answer holds an event that is no CloudEvent, is not after its schema, is too large, or is of a type that `config.reply` of the subscription does not name. It was not emitted, and the delivered event is parked.",
        "The reason says what is wrong, with the code a client of POST /v1/events would get. Mend the endpoint, then `tidewire parked redrive --consumer push.ID`: the event is sent again.",
    ),
    e(
        "push.gone",
        "the endpoint is gone",
        "It answered 410, which means that it wants no event of this subscription any more. The subscription is disabled; its events wait.",
        "Delete the subscription if that is right. Otherwise mend the endpoint and `tidewire subscriptions resume ID`: nothing was lost.",
    ),
    e(
        "push.handshake_refused",
        "the endpoint did not agree to be called",
        "Before an address is called for the first time, it is asked with OPTIONS and `WebHook-Request-Origin`. It did not answer 200 with a `WebHook-Allowed-Origin` that names us. Nothing was changed.",
        "Answer OPTIONS with `WebHook-Allowed-Origin: *`, or with the value of push.origin. Where all subscribers are trusted, push.handshake can be switched off.",
    ),
    e(
        "push.full",
        "there are as many subscriptions as there may be",
        "push.max_subscriptions limits how many there are, since each is a consumer with a loop in every process that delivers. Nothing was created.",
        "Delete what nobody needs, see `tidewire subscriptions list`, or raise push.max_subscriptions. One subscription can take many types and filters.",
    ),
    e(
        "push.exists",
        "there is a subscription of this id",
        "The id was chosen by the client, and another subscription has it. Nothing was changed.",
        "Leave `id` out to have one made, choose another, or change the one there is with PUT /v1/subscriptions/{id}.",
    ),
    e(
        "push.changed",
        "the subscription was changed by somebody else meanwhile",
        "It was read, changed and kept, and between the two somebody else did the same. Nothing of this request was kept.",
        "Look at it again with `tidewire subscriptions show ID`, and send the change again if it is still wanted.",
    ),
];
