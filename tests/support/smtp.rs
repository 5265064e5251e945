//! A mail server that takes everything and remembers it.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A sink on a free port.
pub struct SmtpSink {
    pub url: String,
    ids: Arc<Mutex<Vec<String>>>,
}

impl SmtpSink {
    /// Starts it.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("smtp://{}", listener.local_addr().expect("an address"));
        let ids = Arc::new(Mutex::new(Vec::new()));
        let kept = ids.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, kept.clone()));
            }
        });
        Self { url, ids }
    }

    /// The `Message-ID` of every mail taken, in order, repetitions included.
    pub fn taken(&self) -> Vec<String> {
        self.ids.lock().expect("ids").clone()
    }
}

async fn converse(stream: TcpStream, ids: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink\r\n").await?;
    let (mut line, mut in_data) = (String::new(), false);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let text = line.trim_end();
        if in_data {
            if let Some(id) = text.strip_prefix("Message-ID: ") {
                ids.lock().expect("ids").push(id.to_owned());
            }
            if text == "." {
                in_data = false;
                stream.write_all(b"250 taken\r\n").await?;
            }
            continue;
        }
        let answer: &[u8] = match text.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => b"250 sink\r\n",
            "DATA" => {
                in_data = true;
                b"354 go on\r\n"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => b"250 ok\r\n",
        };
        stream.write_all(answer).await?;
    }
}
