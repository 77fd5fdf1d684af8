# SPDX-License-Identifier: Apache-2.0
"""Reading the node: a GPU that does not answer is marked, the others are shown, and no reader blocks."""

import pytest
from support.scene import apart

from hamid.core.errors import DriverHung
from hamid.core.hardware.gpu import Health
from hamid.engine.driver.observe import observe
from hamid.node.simulation import control


def test_a_gpu_that_hangs_is_marked_and_the_others_are_read(make_scene):
    """A sick GPU does not affect the reading of the others."""
    scene = make_scene("3xA30")
    control.add_fault("nvmlDeviceGetName@1=hang", state=scene.state)

    def look():
        gpus = observe(scene.paths, timeout_seconds=0.5).gpus
        assert [gpu.health for gpu in gpus] == [Health.OK, Health.UNREADABLE, Health.OK]
        assert "did not return within 0.5 s" in gpus[1].note

    apart(look)


def test_a_driver_that_hangs_is_an_error_after_its_deadline(make_scene):
    """Nothing can be shown where the driver as a whole does not answer."""
    scene = make_scene("1xA30")
    control.add_fault("nvmlDeviceGetCount*=hang", state=scene.state)

    def look():
        with pytest.raises(DriverHung, match="nvmlDeviceGetCount"):
            observe(scene.paths, timeout_seconds=0.3)

    apart(look)
