//! The Containerfile by its stages, and an engine's build output in words. Pure.

/// The text of the stages with these names, in the order in which they stand there, after what stands before the first.
/// An engine that is given more builds more: docker's older builder makes every stage up to the one that is wanted.
pub fn only(containerfile: &str, stages: &[&str]) -> String {
    let mut wanted = true;
    let mut text = String::new();
    for line in containerfile.lines() {
        if line.starts_with("FROM ") {
            wanted = stages.iter().any(|stage| line.split(" AS ").nth(1) == Some(stage));
        }
        if wanted {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// What a line of a build's output says is done next, if it says that: a step's own words, which each RUN begins with,
/// or the fetching of the base image, or the writing of the new one. podman's, docker's and BuildKit's.
pub fn step(line: &str) -> Option<String> {
    // podman quotes a step that failed in its error, without the number.
    let numbered = |(_, rest): (&str, &str)| rest.starts_with(|letter: char| letter.is_ascii_digit());
    let is_step = line.split_once("STEP ").is_some_and(numbered)
        || line.starts_with("Step ")
        || (line.starts_with('#') && line.contains('['));
    if is_step {
        let (_, words) = line.split_once("RUN : \"")?;
        return words.split_once('"').map(|(words, _)| words.to_owned());
    }
    if line.split_once("COMMIT ").is_some_and(|(before, _)| before.is_empty() || before.ends_with("] ")) {
        return Some("writing the image".to_owned());
    }
    let fetches = ["Trying to pull ", "Pulling from "].iter().any(|start| line.contains(start));
    fetches.then(|| "fetching the base image".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::image::Stage;

    fn containerfile() -> String {
        String::from_utf8(crate::store::bundled::containerfile().unwrap().bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_stage_is_built_from_its_own_lines() {
        let base = only(&containerfile(), &["mise-fetch", "base"]);
        assert!(base.starts_with("# ") && base.contains("\nARG BASE_IMAGE="));
        assert_eq!(base.matches("\nFROM ${BASE_IMAGE} AS ").count(), 2);
        assert_eq!(base.matches("\nFROM ").count(), 2);
        assert!(base.contains("\nWORKDIR /workspace\n"));
        for stage in Stage::ALL.iter().filter(|stage| **stage != Stage::Base) {
            let own = only(&containerfile(), &[stage.name()]);
            assert_eq!(own.matches("\nFROM ").count(), 1, "{own}");
            assert!(own.contains(&format!("\nFROM ${{COCO_BASE}} AS {}\n", stage.name())), "{own}");
            assert!(own.contains("\nARG COCO_BASE=base\n") && own.contains("\nRUN : \""), "{own}");
        }
    }

    /// Whatever is built says what it does.
    #[test]
    fn every_run_of_the_containerfile_begins_with_words() {
        let runs: Vec<String> = containerfile()
            .lines()
            .filter(|line| line.starts_with("RUN "))
            .map(|line| step(&format!("STEP 1/1: {line}")).unwrap_or_default())
            .collect();
        assert!(runs.len() >= Stage::ALL.len());
        for words in &runs {
            assert!(words.len() > 10 && !words.contains(['$', ';', '\\', '"']), "{words:?}");
        }
    }

    #[test]
    fn output_in_words() {
        let words = "installing Debian's node and npm";
        for line in [
            "[1/2] STEP 3/5: RUN : \"installing Debian's node and npm\"; set -eu; export X=y;     apt-get \"x\"",
            "STEP 3/3: RUN : \"installing Debian's node and npm\"; set -eu",
            "Step 3/40 : RUN : \"installing Debian's node and npm\"; set -eu",
            "#7 [base 3/5] RUN : \"installing Debian's node and npm\"; set -eu",
        ] {
            assert_eq!(step(line).as_deref(), Some(words), "{line}");
        }
        for line in ["Trying to pull docker.io/library/debian:forky-slim...", "forky-slim: Pulling from library/debian"]
        {
            assert_eq!(step(line).as_deref(), Some("fetching the base image"), "{line}");
        }
        for line in [
            "Error: building at STEP \"RUN : \"x y\"; set\": no",
            "STEP 1/5: FROM x AS base",
            "STEP 2/5: COPY ca.crt /tmp",
            "RUN : \"x\"",
            "Get:1 x",
            "#7 [a] RUN : \"x",
            "",
        ] {
            assert_eq!(step(line), None, "{line}");
        }
    }
}
