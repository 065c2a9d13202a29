//! Go templates with the functions of consul-template.
