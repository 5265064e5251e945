-- What followed from an event, and what was given up: operators ask for both.
create index effect_cause on effect (cause);
create index effect_failed on effect (id) where state = 2;
