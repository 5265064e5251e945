//! Kafka's program: jars through Maven, pinned by version and checksum.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::folder::{hex, obtained};
use crate::program::{GET, Toolbox, files, run, sha256};

const VERSION: &str = "4.4.0";

/// The SHA-256 of the list of all jars, each with its own: nothing else is run than what was tried.
const CHECKSUM: &str = "d7f179d4873c9561e2d0fbb6ca21180c2d21f2987470875276c436ee02366c6c";

/// What Maven is asked for. `kafka-tools-api` is for command line tools, and not published in this version.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidewire</groupId>
  <artifactId>servers</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>4.4.0</version>
      <exclusions>
        <exclusion>
          <groupId>org.apache.kafka</groupId>
          <artifactId>kafka-tools-api</artifactId>
        </exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"#;

/// Java, and the folder of jars.
pub(super) struct Program {
    pub java: PathBuf,
    pub jars: PathBuf,
}

/// The program, got if it is not there yet.
pub(super) async fn get(toolbox: Toolbox) -> Result<Program, String> {
    let got = tokio::task::spawn_blocking(move || {
        let java = toolbox.need("java")?;
        let folder = obtained(&toolbox.kept, &format!("kafka-{VERSION}"), |fresh| download(&toolbox, fresh))?;
        Ok(Program { java, jars: folder.join("jars") })
    });
    got.await.map_err(|error| error.to_string())?
}

fn download(toolbox: &Toolbox, fresh: &Path) -> Result<(), String> {
    let maven = toolbox.need("mvn")?;
    let jars = fresh.join("jars");
    fs::write(fresh.join("pom.xml"), POM).map_err(|error| error.to_string())?;
    let mut command = Command::new(maven);
    command.args(["-B", "-q", "org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies"]);
    command.arg(format!("-DoutputDirectory={}", jars.display())).current_dir(fresh);
    run(command, GET)?;
    let found = checksum(&jars)?;
    if found != CHECKSUM {
        return Err(format!("the SHA-256 of the list of jars is {found}, not {CHECKSUM}"));
    }
    Ok(())
}

/// As `sha256sum *.jar | sha256sum` has it.
fn checksum(jars: &Path) -> Result<String, String> {
    let mut list = String::new();
    for jar in files(jars)? {
        let name = jar.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(list, "{}  {name}", sha256(&jar)?);
    }
    Ok(hex(&Sha256::digest(list)))
}
