//! In-app notifications, live stream and e-mail.
