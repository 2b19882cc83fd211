# Types of what Rust defines; `help()` has the words. Checked against the module by tests/test_types.py.
import pathlib
from os import PathLike
from typing import Any, Callable, Dict, Iterable, List, Literal, Mapping, Optional, Protocol, Sequence, Tuple, Union
from typing import final, overload

import numpy as np
import numpy.typing as npt

__all__ = [
    "Detector",
    "Region",
    "Scored",
    "Threshold",
    "__version__",
    "list_pictures",
    "restore_detector",
    "restore_region",
    "restore_scored",
    "restore_threshold",
    "set_threads",
]
__version__: str

class _PilImage(Protocol):
    @property
    def mode(self) -> str: ...
    def getbands(self) -> Tuple[str, ...]: ...

class _Tensor(Protocol):
    @property
    def ndim(self) -> int: ...
    def detach(self) -> Any: ...
    def cpu(self) -> Any: ...

_Path = Union[str, PathLike[str]]
_One = Union[_Path, bytes, bytearray, memoryview, _PilImage]
# One picture or several, as their dimensions say.
_Array = Union[npt.NDArray[Any], _Tensor]
_Pictures = Union[_Path, _Array, Iterable[Union[_One, _Array]]]
_Progress = Callable[[str, int, int, Mapping[str, float]], Any]

@final
class Region:
    @property
    def box(self) -> Tuple[float, float, float, float]: ...
    @property
    def area(self) -> float: ...
    @property
    def share(self) -> float: ...
    @property
    def peak(self) -> float: ...
    @property
    def centroid(self) -> Tuple[float, float]: ...

@final
class Scored:
    @property
    def name(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def score_normalized(self) -> Optional[float]: ...
    @property
    def anomalous(self) -> Optional[bool]: ...
    @property
    def map(self) -> Optional[npt.NDArray[np.float32]]: ...
    @property
    def peak(self) -> Optional[float]: ...
    @property
    def regions(self) -> Optional[List[Region]]: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def warnings(self) -> List[str]: ...

@final
class Threshold:
    def __new__(cls, value: float, pixel: Optional[float] = None) -> Threshold: ...
    @staticmethod
    def max_false_alarms(normal: Sequence[Scored], share: float = 0.02) -> Threshold: ...
    @staticmethod
    def best_f1(normal: Sequence[Scored], anomalous: Sequence[Scored]) -> Threshold: ...
    @property
    def value(self) -> float: ...
    @property
    def pixel(self) -> Optional[float]: ...
    def describe(self) -> str: ...
    def doubt(self) -> Optional[str]: ...
    def __float__(self) -> float: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Detector:
    @staticmethod
    def load(
        path: _Path,
        device: str = "auto",
        precision: Optional[str] = None,
        *,
        batch_size: int = 1,
        maps: bool = True,
    ) -> Detector: ...
    @staticmethod
    def fit(
        normal: _Pictures,
        anomalous: Optional[_Pictures] = None,
        *,
        out: Optional[_Path] = None,
        overwrite: bool = False,
        resume: bool = False,
        progress: Optional[_Progress] = None,
        device: str = "auto",
        precision: Optional[str] = None,
        detector: Optional[str] = ...,
        backbone: Optional[str] = ...,
        layers: Union[Sequence[int], npt.NDArray[np.integer[Any]], None] = ...,
        image_size: Optional[int] = ...,
        resize: Optional[Literal["stretch", "pad", "crop"]] = ...,
        tile: Optional[int] = ...,
        overlap: Optional[int] = ...,
        roi: Optional[_Path] = ...,
        epochs: Optional[int] = ...,
        batch_size: Optional[int] = ...,
        weights: Optional[_Path] = ...,
        seed: Optional[int] = ...,
        holdout: Optional[float] = ...,
        folds: Optional[int] = ...,
        max_false_alarms: Optional[float] = ...,
        **settings: Union[str, float, None],
    ) -> Detector: ...
    # A str is also an iterable of str: the first that fits is meant.
    @overload
    def score(  # type: ignore[overload-overlap]
        self, images: _One, *, errors: Literal["raise"] = "raise"
    ) -> Scored: ...
    @overload
    def score(  # type: ignore[overload-overlap]
        self, images: _One, *, errors: Literal["return"]
    ) -> Union[Scored, Exception]: ...
    @overload
    def score(self, images: _Array, *, errors: Literal["raise", "return"] = "raise") -> Any: ...
    @overload
    def score(self, images: Iterable[Union[_One, _Array]], *, errors: Literal["raise"] = "raise") -> List[Scored]: ...
    @overload
    def score(
        self, images: Iterable[Union[_One, _Array]], *, errors: Literal["return"]
    ) -> List[Union[Scored, Exception]]: ...
    def evaluate(
        self,
        data: Optional[_Path] = None,
        *,
        normal: Optional[_Pictures] = None,
        anomalous: Optional[_Pictures] = None,
        masks: Optional[_Path] = None,
        category: Optional[str] = None,
        layout: Optional[str] = None,
        normal_class: Optional[str] = None,
        pro: Literal["exact", "paper"] = "exact",
        scores: bool = False,
    ) -> Dict[str, Any]: ...
    def with_threshold(self, threshold: Union[Threshold, float]) -> Detector: ...
    def save(self, path: _Path, *, overwrite: bool = False) -> None: ...
    @property
    def threshold(self) -> Optional[Threshold]: ...
    @property
    def image_size(self) -> int: ...
    @property
    def backbone(self) -> str: ...
    @property
    def layers(self) -> List[int]: ...
    @property
    def method(self) -> str: ...
    @property
    def training(self) -> Optional[Dict[str, Any]]: ...

def list_pictures(folder: _Path) -> List[pathlib.Path]: ...
def set_threads(count: int) -> None: ...

# What is unpickled by.
def restore_detector(bytes: bytes, device: str, precision: Optional[str], batch_size: int, maps: bool) -> Detector: ...
def restore_scored(verdict: Tuple[Any, ...], place: Tuple[Any, ...], picture: Tuple[Any, ...]) -> Scored: ...
def restore_region(
    box: Tuple[float, float, float, float], area: float, share: float, peak: float, centroid: Tuple[float, float]
) -> Region: ...
def restore_threshold(value: float, pixel: Optional[float], calibration: str) -> Threshold: ...
