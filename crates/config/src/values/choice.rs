//! Words of which exactly one is written.

/// Declares an enum of fixed words.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident $what:literal { $($(#[$about:meta])* $word:literal => $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$about])* $variant,)*
        }

        impl $crate::read::Read for $name {
            const WHAT: &'static str = $what;
            const EXAMPLE: &'static str = concat!("one of", $(" \"", $word, "\"",)*);

            fn read(value: &$crate::read::Value<'_>, r: &mut $crate::read::Reader<'_>) -> Option<Self> {
                let Some(text) = value.get_ref().as_str() else {
                    r.mismatch::<Self>(value);
                    return None;
                };
                let text = r.text(value, text)?;
                match text.as_str() {
                    $($word => Some(Self::$variant),)*
                    other => {
                        let message = format!("\"{other}\" is not {}", Self::WHAT);
                        r.error(value, message, $crate::suggest::advice(other, Self::WHAT, &[$($word),*]));
                        None
                    }
                }
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),*] })
            }
        }
    };
}

pub(crate) use choice;
