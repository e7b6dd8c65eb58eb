"""Everything a call needs from the configuration, as one immutable set. A reload builds another and swaps it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from itertools import accumulate

from sekisho.domain.call import Call, Caller, Entry, Language
from sekisho.domain.endpoint import Durability, Endpoint, LogLevel, Target, Timeouts
from sekisho.domain.errors import Refusal
from sekisho.domain.http import HttpRequest, Origin, Secret
from sekisho.domain.money import Rates
from sekisho.gateway.drive import own_task
from sekisho.gateway.policies.authentication import Keyring
from sekisho.gateway.transport import Pool
from sekisho.ledger.plans import Planner
from sekisho.providers.catalog import ProviderRow
from sekisho.providers.dialect import Dialect, EmbeddingsDialect
from sekisho.providers.signing import sign

#: rates of a model nobody has asked for yet; may have to wait for the price library
RatesOf = Callable[[str, str], Awaitable[Rates | None]]
_MAX_DIRECT_ENDPOINTS = 1000
#: what is shorter is no secret, and is a word of ordinary texts
_LEAST_SECRET_CHARS = 8


class Provider:
    """A configured provider: origin, dialects, credentials. The head of its requests is rendered once per path."""

    def __init__(
        self,
        name: str,
        row: ProviderRow,
        chat: Dialect,
        embeddings: EmbeddingsDialect,
        *,
        origin: Origin,
        base_path: str,
        api_key: Secret | None,
        headers: dict[str, Secret],
        user_agent: str,
    ) -> None:
        self.name = name
        self.row = row
        self.chat = chat
        self.embeddings = embeddings
        self.origin = origin
        self._base_path = base_path.rstrip("/")
        # without a word on encodings a server may choose any (RFC 9110, 12.5.3), and answers pass as they come
        self._fixed = {
            "user-agent": user_agent,
            "content-type": "application/json",
            "accept": "*/*",
            "accept-encoding": "identity",
        }
        self._api_key = api_key
        self._headers = headers
        self._heads: dict[str, bytes] = {}
        self._secrets = _told(api_key, headers)
        #: its connections, once there are any; they outlive this object
        self.pool: Pool | None = None

    def head(self, request: HttpRequest) -> bytes:
        """Request line and headers up to the value of content-length, with credentials."""
        head = self._heads.get(request.path)
        if head is None:
            head = self._heads[request.path] = self._render(request.path)
        if request.headers:
            extra = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
            head = head.removesuffix(b"content-length: ") + extra.encode("latin-1") + b"content-length: "
        body = request.body
        length = sum(map(len, body)) if len(body) > 1 else len(body[0])
        return b"%b%d\r\n\r\n" % (head, length)

    def hide(self, text: str) -> str:
        """What the provider wrote, without the credentials that it was sent: some repeat those that they refuse. Where
        the text was cut in the middle of one, its beginning is no part of the text either."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
            sizes = range(min(len(secret) - 1, len(text)), _LEAST_SECRET_CHARS - 1, -1)
            cut = next((size for size in sizes if text.endswith(secret[:size])), 0)
            text = f"{text[:-cut]}***" if cut else text
        return text

    def _render(self, path: str) -> bytes:
        fields = {"host": self.origin.authority, **self._fixed}
        if self._api_key is not None:
            fields |= sign(self.row, self._api_key)
        fields |= {name.lower(): secret.reveal() for name, secret in self._headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {self._base_path}{path} HTTP/1.1\r\n{lines}content-length: ".encode("latin-1")

    def __repr__(self) -> str:
        return f"Provider({self.name!r})"


def _told(api_key: Secret | None, headers: dict[str, Secret]) -> tuple[str, ...]:
    """The credentials that requests carry, the longest first; of `Bearer TOKEN` the token by itself, too."""
    values = [secret.reveal() for secret in (api_key, *headers.values()) if secret is not None]
    found = {*values, *(value.rpartition(" ")[2] for value in values)}
    return tuple(sorted((one for one in found if len(one) >= _LEAST_SECRET_CHARS), key=len, reverse=True))


class Choice:
    """An endpoint's targets in the order to try them: one by weight, then the fallbacks."""

    __slots__ = ("_fixed", "_sums", "_targets", "fallbacks", "first_reason")

    def __init__(self, endpoint: Endpoint) -> None:
        self._targets = endpoint.targets
        self._sums = list(accumulate(target.weight for target in endpoint.targets))
        self.fallbacks = endpoint.fallbacks
        single = len(endpoint.targets) == 1
        self._fixed = (endpoint.targets[0], *endpoint.fallbacks) if single else None
        self.first_reason = "primary" if single else "weighted"

    def order(self) -> tuple[Target, ...]:
        if self._fixed is not None:
            return self._fixed
        return (random.choices(self._targets, cum_weights=self._sums)[0], *self.fallbacks)


class Snapshot:
    """One configuration in force. Immutable but for the memory of directly addressed models."""

    def __init__(
        self,
        *,
        providers: dict[str, Provider],
        endpoints: dict[str, Endpoint],
        keyring: Keyring,
        rates_of: RatesOf,
        default_provider: str | None,
        default_timeouts: Timeouts,
        default_log: LogLevel,
        default_durability: Durability = "process",
        block_unpriced: bool,
        language: Language,
        max_body_bytes: int,
        keepalive_s: float,
        config_hash: str,
        planner: Planner | None = None,
    ) -> None:
        self.providers = providers
        self.endpoints = endpoints
        #: for callers that name no model: the endpoint `chat`, else the first one
        self.default_model = "chat" if "chat" in endpoints else next(iter(endpoints), None)
        self.choices = {name: Choice(endpoint) for name, endpoint in endpoints.items()}
        self.keyring = keyring
        self.rates_of = rates_of
        self.default_provider = default_provider
        self.default_timeouts = default_timeouts
        self.default_log: LogLevel = default_log
        self.default_durability: Durability = default_durability
        self.block_unpriced = block_unpriced
        self.language: Language = language
        self.max_body_bytes = max_body_bytes
        self.keepalive_s = keepalive_s
        self.config_hash = config_hash
        #: what calls are counted on; None: nothing is limited
        self.planner = planner
        self._direct: dict[str, Endpoint] = {}
        #: models that only refused bodies have named: without prices, so no call goes there
        self._refused: dict[str, Endpoint] = {}

    def with_keyring(self, keyring: Keyring, planner: Planner | None) -> Snapshot:
        """The same configuration with other keys, whose plans are others too; what is known of direct models is
        kept."""
        other = object.__new__(Snapshot)
        other.__dict__.update(self.__dict__)
        other.keyring = keyring
        other.planner = planner
        return other

    def identify(self, call: Call) -> Caller:
        return self.keyring.identify(call)

    def named(self, entry: Entry, caller: Caller, model: str) -> Endpoint | None:
        """A configured endpoint. Raises Refusal 403 where the key may not use it."""
        endpoint = self.endpoints.get(model)
        if endpoint is not None and not caller.may_use(model):
            entry.endpoint = endpoint
            raise Refusal(403, "model_not_allowed", type="permission_error", param="model", model=model)
        return endpoint

    async def direct(self, caller: Caller, model: str) -> Endpoint:
        """`provider/model`, or any model of the default provider. Raises Refusal 404: what a key may not address
        does not exist for it."""
        provider, name = self._address(caller, model)
        known = self._direct.get(model)
        if known is not None:
            return known
        rates = await own_task(self.rates_of(provider, name))
        endpoint = self._directly(model, Target(provider=provider, model=name, rates=rates))
        if len(self._direct) < _MAX_DIRECT_ENDPOINTS:
            self._direct[model] = endpoint
        return endpoint

    def meant(self, caller: Caller, model: str) -> Endpoint | None:
        """Where a call was to go that is refused for something else in its body: its row stands with that endpoint's.
        No price is looked up for it, nothing is sent there. None where this caller has no such model."""
        endpoint = self.endpoints.get(model) or self._direct.get(model) or self._refused.get(model)
        if endpoint is not None and not endpoint.direct:
            return endpoint
        try:
            provider, name = self._address(caller, model)
        except Refusal:
            return None
        if endpoint is None:
            endpoint = self._directly(model, Target(provider=provider, model=name, rates=None))
            if len(self._refused) < _MAX_DIRECT_ENDPOINTS:
                self._refused[model] = endpoint
        return endpoint

    def _address(self, caller: Caller, model: str) -> tuple[str, str]:
        """Provider and model. Raises Refusal 404."""
        provider, slash, name = model.partition("/")
        if not slash or provider not in self.providers:
            if self.default_provider is None or not caller.may_address(self.default_provider):
                raise Refusal(404, "model_not_found", param="model", model=model)
            provider, name = self.default_provider, model
        if not caller.may_address(provider) or not name:
            raise Refusal(404, "model_not_found", param="model", model=model)
        return provider, name

    def _directly(self, model: str, target: Target) -> Endpoint:
        return Endpoint(
            name=model,
            targets=(target,),
            timeouts=self.default_timeouts,
            log=self.default_log,
            durability=self.default_durability,
            direct=True,
        )

    def direct_targets(self) -> list[Target]:
        """Models that were addressed directly, with the prices that they have in this snapshot."""
        return [endpoint.targets[0] for endpoint in self._direct.values()]

    def choice(self, endpoint: Endpoint) -> Choice:
        return self.choices.get(endpoint.name) or Choice(endpoint)

    def check_model(self, caller: Caller, model: str) -> None:
        """Raises Refusal 404 where this caller has no such model: an endpoint, or one that is addressed directly."""
        if model in self.endpoints:
            if not caller.may_use(model):
                raise Refusal(404, "model_not_found", param="model", model=model)
        else:
            self._address(caller, model)

    def models(self, caller: Caller) -> list[str]:
        """Names of the endpoints this caller may use, sorted."""
        return sorted(name for name in self.endpoints if caller.may_use(name))
