//! E-mail over SMTP.

use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tidewire_core::{Call, Effect};

use super::{CallError, Caller, unexpected};

/// Sends mail effects through one SMTP server.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    /// The part of message ids after the `@`.
    domain: String,
}

/// Why a mailer cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The server's URL.
    #[error("`smtp.url` is no SMTP server: {0}; expected smtp://user:password@host:port or smtps://…")]
    Server(String),
    /// The sender.
    #[error("`smtp.from` is no sender: {0}; expected an address such as `Tidewire <noreply@example.org>`")]
    From(String),
}

impl Mailer {
    /// A mailer for `url` (`smtp://…`, with STARTTLS by `?tls=required`, or `smtps://…`), sending as `from`.
    pub fn new(url: &str, from: &str) -> Result<Self, MailError> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(|error| MailError::Server(error.to_string()))?
            .timeout(Some(super::MAX_ATTEMPT))
            .build();
        let from: Mailbox =
            from.parse().map_err(|error: lettre::address::AddressError| MailError::From(error.to_string()))?;
        let domain = from.email.domain().to_owned();
        Ok(Self { transport, from, domain })
    }
}

#[async_trait]
impl Caller for Mailer {
    fn kind(&self) -> &'static str {
        "mail"
    }

    async fn call(&self, effect: &Effect) -> Result<(), CallError> {
        let Call::Mail { to, subject, text } = &effect.call else { return Err(unexpected(&effect.call)) };
        let to: Mailbox = to.parse().map_err(|error| CallError::Permanent(format!("`{to}` is no address: {error}")))?;
        // Servers and readers drop a second message with the same id.
        let message = Message::builder()
            .message_id(Some(format!("<{}@{}>", effect.id, self.domain)))
            .from(self.from.clone())
            .to(to)
            .subject(subject.clone())
            .header(ContentType::TEXT_PLAIN)
            .body(text.clone())
            .map_err(|error| CallError::Permanent(format!("the mail cannot be written: {error}")))?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(CallError::Permanent(error.to_string())),
            Err(error) => Err(CallError::Transient(error.to_string())),
        }
    }
}
