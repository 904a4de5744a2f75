"""Settings of `make lab`: saved notebooks hold text and pictures, no widgets without a kernel."""


def leave_widgets_out(model, **about):
    """Remove live widgets and their state from a notebook that is saved."""
    if model["type"] != "notebook":
        return
    model["content"]["metadata"].pop("widgets", None)
    for cell in model["content"]["cells"]:
        outputs = []
        for output in cell.get("outputs", []):
            if "application/vnd.jupyter.widget-view+json" not in output.get("data", {}):
                outputs.append(output)
        if "outputs" in cell:
            cell["outputs"] = outputs


c.FileContentsManager.pre_save_hook = leave_widgets_out  # noqa: F821
