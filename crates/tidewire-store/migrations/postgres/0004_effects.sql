-- What followed from an event, and what was given up: operators ask for both.
create index effect_cause on tidewire.effect (cause);
create index effect_failed on tidewire.effect (id) where state = 2;
