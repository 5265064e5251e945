//! What a route takes and answers, for the OpenAPI document.
//!
//! Declared next to the router that serves it, in plain values: answers are mostly put together by hand, and
//! types of the floors below need not know that there is a document. That it is true is tested from outside,
//! answer by answer.

use serde_json::{Map, Value, json};

use super::page::{DEFAULT_PAGE, MAX_PAGE};
use super::shape::{self, Shape};

/// One method at one path.
#[derive(Clone, Debug)]
pub struct RouteDoc {
    /// `get`, `post`, `put` or `delete`.
    pub method: &'static str,
    /// The template as the router has it, such as `/v1/users/{id}`.
    pub path: &'static str,
    /// Unique in the document; generated clients name their functions after it.
    pub id: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Path, query and header parameters; path parameters that are not among them are texts.
    pub parameters: Vec<Parameter>,
    /// The body it takes, by media type. Empty: none.
    pub bodies: Vec<(&'static str, Shape)>,
    /// Whether a request without a body is taken as well.
    pub body_is_optional: bool,
    /// What it answers when all is well.
    pub answers: Vec<Answer>,
    /// Its own refusals: status and code. Those every route has are not named.
    pub problems: Vec<(u16, &'static str)>,
}

/// A parameter beside the body.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// `path`, `query` or `header`.
    pub place: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub shape: Shape,
    /// One sentence.
    pub description: &'static str,
    /// Whether the request is refused without it.
    pub required: bool,
}

/// One good answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 2xx; or another status whose body is no problem.
    pub status: u16,
    /// What it means.
    pub description: &'static str,
    /// The body by media type; `None`: there is none.
    pub body: Option<(&'static str, Shape)>,
    /// Headers of this route's own.
    pub headers: Vec<(&'static str, &'static str)>,
}

impl RouteDoc {
    /// A route that reads.
    pub fn get(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new("get", path, id, summary)
    }

    /// A route that does something.
    pub fn post(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new("post", path, id, summary)
    }

    /// A route that makes something so.
    pub fn put(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new("put", path, id, summary)
    }

    /// A route that changes a part.
    pub fn patch(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new("patch", path, id, summary)
    }

    /// A route that takes something away.
    pub fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new("delete", path, id, summary)
    }

    fn new(method: &'static str, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            parameters: Vec::new(),
            bodies: Vec::new(),
            body_is_optional: false,
            answers: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Says what a path parameter may be.
    pub fn path(self, name: &'static str, shape: Shape, description: &'static str) -> Self {
        self.parameter("path", name, shape, description, true)
    }

    /// With an optional query parameter.
    pub fn query(self, name: &'static str, shape: Shape, description: &'static str) -> Self {
        self.parameter("query", name, shape, description, false)
    }

    /// With a query parameter that must be there.
    pub fn query_required(self, name: &'static str, shape: Shape, description: &'static str) -> Self {
        self.parameter("query", name, shape, description, true)
    }

    /// With an optional header.
    pub fn header(self, name: &'static str, shape: Shape, description: &'static str) -> Self {
        self.parameter("header", name, shape, description, false)
    }

    fn parameter(
        mut self,
        place: &'static str,
        name: &'static str,
        shape: Shape,
        description: &'static str,
        required: bool,
    ) -> Self {
        self.parameters.push(Parameter { place, name, shape, description, required });
        self
    }

    /// A list in pages: `limit` and `cursor` in, 200 with `items` and `cursor` out.
    pub fn paged(self, item: Shape) -> Self {
        self.paged_with(item, [])
    }

    /// A list in pages with further members.
    pub fn paged_with<const N: usize>(self, item: Shape, more: [(&'static str, Shape); N]) -> Self {
        let mut page = shape::object([
            ("items", shape::list_up_to(MAX_PAGE, item)),
            ("cursor", shape::nullable(shape::text()).described("Where the next page starts; null on the last one.")),
        ]);
        for (name, shape) in more {
            page = page.member(name, shape);
        }
        let limit = shape::number(1, MAX_PAGE as i64).default(json!(DEFAULT_PAGE));
        self.query("limit", limit, "The most items of the page.")
            .query("cursor", shape::text().described("Opaque."), "The place to go on from, as the last page gave it.")
            .answer(200, "One page.", page)
    }

    /// Takes a JSON body.
    pub fn body(self, shape: Shape) -> Self {
        self.body_as("application/json", shape)
    }

    /// Takes a body of this media type (as well).
    pub fn body_as(mut self, media_type: &'static str, shape: Shape) -> Self {
        self.bodies.push((media_type, shape));
        self
    }

    /// Takes requests without a body, too.
    pub fn body_may_be_absent(mut self) -> Self {
        self.body_is_optional = true;
        self
    }

    /// Answers with JSON.
    pub fn answer(self, status: u16, description: &'static str, shape: Shape) -> Self {
        self.answer_as(status, "application/json", description, shape)
    }

    /// Answers with a body of this media type.
    pub fn answer_as(mut self, status: u16, media_type: &'static str, description: &'static str, shape: Shape) -> Self {
        self.answers.push(Answer { status, description, body: Some((media_type, shape)), headers: Vec::new() });
        self
    }

    /// Answers without a body.
    pub fn no_content(mut self, status: u16, description: &'static str) -> Self {
        self.answers.push(Answer { status, description, body: None, headers: Vec::new() });
        self
    }

    /// Gives the answer named last a header.
    pub fn with_header(mut self, name: &'static str, description: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.push((name, description));
        }
        self
    }

    /// Refuses with a code of its own.
    pub fn problem(mut self, status: u16, code: &'static str) -> Self {
        self.problems.push((status, code));
        self
    }

    /// The names in the path template, in their order.
    pub fn path_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
    }

    /// Its parameters as OpenAPI has them, path parameters that were not described included.
    pub fn parameters_json(&self) -> Vec<Value> {
        let described = |name: &str| self.parameters.iter().any(|p| p.place == "path" && p.name == name);
        let plain = self.path_names().filter(|name| !described(name)).map(|name| {
            json!({ "in": "path", "name": name, "required": true, "schema": { "type": "string", "minLength": 1 } })
        });
        let told = self.parameters.iter().map(|parameter| {
            let mut value = json!({
                "in": parameter.place, "name": parameter.name, "description": parameter.description,
                "schema": parameter.shape.schema(),
            });
            if parameter.required {
                value["required"] = json!(true);
            }
            if let Some(example) = parameter.shape.given_example() {
                value["example"] = example.clone();
            }
            value
        });
        plain.chain(told).collect()
    }

    /// Its body as OpenAPI has it.
    pub fn body_json(&self) -> Option<Value> {
        if self.bodies.is_empty() {
            return None;
        }
        let content: Map<String, Value> =
            self.bodies.iter().map(|(media_type, shape)| ((*media_type).to_owned(), shape.media())).collect();
        Some(json!({ "required": !self.body_is_optional, "content": content }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_says_what_it_takes() {
        let doc = RouteDoc::post("/v1/a/{id}/b/{n}", "doIt", "Does it.")
            .path("n", shape::number(1, 9), "Which.")
            .query("dry", shape::boolean(), "Only looks.")
            .body(shape::object([("reason?", shape::text())]));
        assert_eq!(doc.path_names().collect::<Vec<_>>(), ["id", "n"]);
        let parameters = doc.parameters_json();
        let names: Vec<_> = parameters.iter().map(|p| (p["name"].as_str().unwrap(), p["required"] == true)).collect();
        assert_eq!(names, [("id", true), ("n", true), ("dry", false)]);
        assert_eq!(doc.body_json().unwrap()["content"]["application/json"]["schema"]["type"], "object");
    }

    #[test]
    fn a_page_has_its_parameters_and_its_members() {
        let doc = RouteDoc::get("/v1/a", "list", "All.").paged_with(shape::text(), [("unread", shape::count())]);
        assert_eq!(doc.parameters.iter().map(|p| p.name).collect::<Vec<_>>(), ["limit", "cursor"]);
        let schema = doc.answers[0].body.as_ref().unwrap().1.schema();
        assert_eq!(schema["required"], json!(["items", "cursor", "unread"]));
    }
}
