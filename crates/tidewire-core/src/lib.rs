//! The words of Tidewire: envelope, event, aggregate, projection, saga, handler, and the ports. Pure.
