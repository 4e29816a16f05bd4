/** The block "Top posts" in the editor; the site itself renders it on the server. */
(function (wp) {
  var h = wp.element.createElement,
    __ = wp.i18n.__,
    c = wp.components;
  wp.blocks.registerBlockType("hitparade/top-posts", {
    edit: function (props) {
      var a = props.attributes;
      function set(name) {
        return function (value) {
          var change = {};
          change[name] = value;
          props.setAttributes(change);
        };
      }
      return h(
        "div",
        wp.blockEditor.useBlockProps(),
        h(
          wp.blockEditor.InspectorControls,
          {},
          h(
            c.PanelBody,
            { title: __("Chart", "hitparade") },
            h(c.TextControl, { label: __("Region", "hitparade"), value: a.region, onChange: set("region") }),
            h(c.SelectControl, {
              label: __("Time", "hitparade"),
              value: a.timeframe,
              onChange: set("timeframe"),
              options: ["1h", "24h", "7d", "30d", "today", "yesterday", "this-week", "last-week", "this-month", "last-month", "all"].map(
                function (value) {
                  return { value: value, label: value };
                },
              ),
            }),
            h(c.SelectControl, {
              label: __("Order", "hitparade"),
              value: a.sort,
              onChange: set("sort"),
              options: ["views", "rising", "distinctive"].map(function (value) {
                return { value: value, label: value };
              }),
            }),
            h(c.RangeControl, { label: __("Posts", "hitparade"), value: a.k, min: 1, max: 100, onChange: set("k") }),
            h(c.ToggleControl, { label: __("Show counts", "hitparade"), checked: a.counts, onChange: set("counts") }),
          ),
        ),
        h(wp.serverSideRender, { block: "hitparade/top-posts", attributes: a }),
      );
    },
    save: function () {
      return null;
    },
  });
})(window.wp);
