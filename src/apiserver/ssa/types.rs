//! What server-side apply must know of a schema: which values merge and which are replaced as a whole. It must not
//! look at objects.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::apiserver::schema::{Additional, Kind, ListType, Node, object_meta, type_meta};

/// The scalars that a type takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Numeric,
    Text,
    Boolean,
    Any,
}

/// A type: up to one form each for scalars, lists and maps.
#[derive(Debug, Default)]
pub(crate) struct Type {
    pub(crate) scalar: Option<Scalar>,
    pub(crate) list: Option<ListOf>,
    pub(crate) map: Option<MapOf>,
}

/// The list form of a type.
#[derive(Debug)]
pub(crate) struct ListOf {
    /// Items have no identity: the list is one value.
    pub(crate) atomic: bool,
    /// The fields that tell items apart; none for sets.
    pub(crate) keys: Vec<String>,
    pub(crate) element: TypeRef,
}

/// The map form of a type.
#[derive(Debug)]
pub(crate) struct MapOf {
    pub(crate) atomic: bool,
    pub(crate) fields: BTreeMap<String, TypeRef>,
    /// Defaults of scalar fields: keys of list items may rest on them.
    pub(crate) defaults: BTreeMap<String, Value>,
    /// The type of keys that are not named; none when there may be none.
    pub(crate) element: Option<TypeRef>,
}

impl MapOf {
    pub(crate) fn field(&self, key: &str) -> Option<&TypeRef> {
        self.fields.get(key).or(self.element.as_ref())
    }

    /// Whether this is the map form of values whose type is told by the values themselves.
    pub(crate) fn is_deduced(&self) -> bool {
        self.fields.is_empty() && matches!(self.element, Some(TypeRef::Deduced))
    }
}

/// A type, or one of the two that contain themselves.
#[derive(Debug, Clone)]
pub(crate) enum TypeRef {
    Named(Arc<Type>),
    /// Maps merge, lists do not, and so on all the way down.
    Deduced,
    /// Nothing merges.
    Untyped,
}

impl TypeRef {
    pub(crate) fn get(&self) -> &Type {
        static DEDUCED: LazyLock<Type> = LazyLock::new(|| Type::of_anything(TypeRef::Deduced, false));
        static UNTYPED: LazyLock<Type> = LazyLock::new(|| Type::of_anything(TypeRef::Untyped, true));
        match self {
            Self::Named(named) => named,
            Self::Deduced => &DEDUCED,
            Self::Untyped => &UNTYPED,
        }
    }
}

/// Which form of a type a value takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form<'a> {
    Scalar(Scalar),
    List(&'a ListOf),
    Map(&'a MapOf),
    None,
}

impl Type {
    fn of_anything(element: TypeRef, atomic: bool) -> Self {
        let map = MapOf {
            atomic,
            fields: BTreeMap::new(),
            defaults: BTreeMap::new(),
            element: Some(element),
        };
        let list = ListOf {
            atomic: true,
            keys: Vec::new(),
            element: TypeRef::Untyped,
        };
        Self {
            scalar: Some(Scalar::Any),
            list: Some(list),
            map: Some(map),
        }
    }

    /// The type of a whole object, whose metadata has the form that all objects share.
    pub(crate) fn of_resource(root: &Arc<Node>) -> Arc<Self> {
        let mut map = map_of(root, root.preserve_unknown);
        add_meta(&mut map);
        Arc::new(Self {
            scalar: None,
            list: None,
            map: Some(map),
        })
    }

    /// The form that `value` takes, and whether the value alone told so: nulls, absent values and values of a type
    /// that the schema does not allow leave it open.
    pub(crate) fn form(&self, value: Option<&Value>) -> (Form<'_>, bool) {
        let told = match value {
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => self.scalar.map(Form::Scalar),
            Some(Value::Array(_)) => self.list.as_ref().map(Form::List),
            Some(Value::Object(_)) => self.map.as_ref().map(Form::Map),
            Some(Value::Null) | None => None,
        };
        let several = [self.scalar.is_some(), self.list.is_some(), self.map.is_some()];
        let open = several.iter().filter(|there| **there).count() > 1;
        if let Some(form) = told {
            return (form, true);
        }
        let form = match (&self.map, self.scalar, &self.list) {
            (Some(map), _, _) => Form::Map(map),
            (None, Some(scalar), _) => Form::Scalar(scalar),
            (None, None, Some(list)) => Form::List(list),
            (None, None, None) => Form::None,
        };
        (form, !open)
    }
}

/// Whether two values take the same form of one type.
pub(crate) fn same_form(a: (Form<'_>, bool), b: (Form<'_>, bool)) -> bool {
    a.1 == b.1 && std::mem::discriminant(&a.0) == std::mem::discriminant(&b.0)
}

/// `keep` tells that a node further up keeps unknown fields.
fn type_of(node: &Arc<Node>, keep: bool) -> TypeRef {
    let keep = keep || node.preserve_unknown;
    let list = || list_of(node, keep);
    let map = || {
        let mut map = map_of(node, keep);
        if node.embedded {
            add_meta(&mut map);
        }
        map
    };
    let scalar = |scalar| Type {
        scalar: Some(scalar),
        ..Type::default()
    };
    TypeRef::Named(Arc::new(match node.kind.filter(|_| !node.int_or_string) {
        None if node.properties.is_empty() && node.items.is_none() && node.additional.is_none() => {
            return TypeRef::Deduced;
        }
        None => Type {
            scalar: Some(Scalar::Any),
            list: Some(list()),
            map: Some(map()),
        },
        Some(Kind::Object) => Type {
            map: Some(map()),
            ..Type::default()
        },
        Some(Kind::Array) => Type {
            list: Some(list()),
            ..Type::default()
        },
        Some(Kind::Integer | Kind::Number) => scalar(Scalar::Numeric),
        Some(Kind::Boolean) => scalar(Scalar::Boolean),
        Some(Kind::String) => match node.format.as_deref() {
            None | Some("byte") => scalar(Scalar::Text),
            Some(_) => scalar(Scalar::Any),
        },
    }))
}

fn list_of(node: &Node, keep: bool) -> ListOf {
    let element = node
        .items
        .as_ref()
        .map_or(TypeRef::Untyped, |items| type_of(items, keep));
    let merges = node.patch_strategies.iter().any(|s| s == "merge");
    let (atomic, keys) = match (node.list_type, &node.patch_merge_key) {
        (Some(ListType::Map), _) => (false, node.list_keys.clone()),
        (Some(ListType::Set), _) => (false, Vec::new()),
        (None, Some(key)) if merges => (false, vec![key.clone()]),
        (None, None) => (!merges, Vec::new()),
        (Some(ListType::Atomic) | None, _) => (true, Vec::new()),
    };
    ListOf {
        atomic,
        keys,
        element,
    }
}

fn map_of(node: &Node, keep: bool) -> MapOf {
    let element = match &node.additional {
        Some(Additional::Schema(schema)) => Some(type_of(schema, keep)),
        Some(Additional::Any) => Some(TypeRef::Deduced),
        Some(Additional::None) => None,
        None => (keep || node.properties.is_empty()).then_some(TypeRef::Deduced),
    };
    MapOf {
        atomic: node.map_atomic.unwrap_or(false),
        fields: node
            .properties
            .iter()
            .map(|(key, child)| (key.clone(), type_of(child, keep)))
            .collect(),
        defaults: node
            .properties
            .iter()
            .filter_map(|(key, child)| Some((key.clone(), child.default.clone()?)))
            .collect(),
        element,
    }
}

fn add_meta(map: &mut MapOf) {
    static META: LazyLock<TypeRef> = LazyLock::new(|| type_of(object_meta(), false));
    static TEXT: LazyLock<TypeRef> = LazyLock::new(|| type_of(type_meta(), false));
    map.fields.insert("metadata".to_owned(), META.clone());
    map.fields.insert("apiVersion".to_owned(), TEXT.clone());
    map.fields.insert("kind".to_owned(), TEXT.clone());
}
