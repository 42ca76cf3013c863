//! Settings that are chosen by name.

/// One of a few named values. The command line, JSON and metadata use the names.
pub trait Choice: Copy + PartialEq + 'static {
    /// All values, in the order in which they are listed.
    const ALL: &'static [Self];

    /// Its name: lower case, words joined by hyphens.
    fn name(self) -> &'static str;

    /// What it means, in one line.
    fn about(self) -> &'static str;

    /// The value with this name; None if there is none.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.name() == name)
    }
}

/// Declares an enum whose values have names. Each variant has its name and one line on what it means, which is
/// also its documentation.
#[macro_export]
macro_rules! choices {
    ($(#[$meta:meta])* $visible:vis enum $choice:ident {
        $($(#[$of:meta])* $variant:ident = $name:literal: $about:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visible enum $choice {
            $(#[doc = $about] $(#[$of])* $variant,)+
        }

        impl $crate::Choice for $choice {
            const ALL: &'static [Self] = &[$($choice::$variant),+];

            fn name(self) -> &'static str {
                match self {
                    $($choice::$variant => $name,)+
                }
            }

            fn about(self) -> &'static str {
                match self {
                    $($choice::$variant => $about,)+
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    choices! {
        /// For the test.
        #[derive(Default)]
        pub enum Fruit {
            #[default]
            Apple = "apple": "Falls from trees",
            BloodOrange = "blood-orange": "Is peeled",
        }
    }

    #[test]
    fn a_value_is_found_by_its_name() {
        assert_eq!(Fruit::named("blood-orange"), Some(Fruit::BloodOrange));
        assert_eq!(Fruit::named("Apple"), None);
        assert!(Fruit::ALL.iter().all(|fruit| Fruit::named(fruit.name()) == Some(*fruit)));
        assert_eq!(Fruit::default().about(), "Falls from trees");
    }
}
