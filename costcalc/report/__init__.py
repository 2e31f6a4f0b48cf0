"""From cost tables to what a person reads: views make tables of values, renderers make text of them."""
