//! What a service author depends on: the loops over the ports, configuration, telemetry.
